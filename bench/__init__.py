"""Measures how fast and how frugal the program is: ``make bench``. Tests never time anything; this does.

``fleet``: many Rollouts updated at once, next to as many Deployments of the built-in controller in the same run.
``push``: one changed file among many, from ``git push`` to the object in the cluster.
Everything is real: the control plane of ``gor cluster``, a Git server, ``gor run`` as a child process. Linux only.
"""
