"""The local control plane and what the demo and the tests need around it: real parts, no mocks.

``build`` makes the programs, ``cluster`` starts and ends one control plane from them, ``supervisor`` is the
process that owns its children, ``git_server`` serves Git repositories over HTTP.
"""
