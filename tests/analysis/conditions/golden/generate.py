"""Writes golden.json: what the language's own implementation in Go makes of every case.

    cd tests/analysis/conditions/golden && python generate.py

It needs Go and its module proxy; the tests read golden.json only. A case is a line of cases.txt: a condition and, after
⇐, the result as JSON, nil if there is none. {"int": 1}, {"float": "NaN"} and {"floats": ["1"]} are an int, float64 and
[]float64; all other numbers are JSON's, float64. Every line of each.txt is asked about each of RESULTS.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = [
    None,
    True,
    "",
    "1.5",
    "ok",
    0,
    1.5,
    {"int": 2},
    {"float": "NaN"},
    {"float": "-Inf"},
    [],
    [1, 2.5],
    ["a", None, True],
    [{"x": 1, "ok": True}, {"x": 2}],
    {"floats": []},
    {"floats": ["0.5", "NaN", "3"]},
    {},
    {"x": 1, "ok": True, "items": [1, 2]},
]


def main() -> None:
    """Ask Go about all cases and keep its answers, one a line."""
    cases = []
    for line in (HERE / "cases.txt").read_text(encoding="utf-8").splitlines():
        source, _, result = line.partition(" ⇐ ")
        cases.append({"source": source, "result": json.loads(result) if result else None})
    for source in (HERE / "each.txt").read_text(encoding="utf-8").splitlines():
        cases += [{"source": source, "result": result} for result in RESULTS]
    asked = json.dumps(cases)
    run = subprocess.run(["go", "run", "."], cwd=HERE, input=asked, capture_output=True, text=True, check=True)
    answers = [json.dumps(case, ensure_ascii=False, sort_keys=True) for case in json.loads(run.stdout)]
    (HERE / "golden.json").write_text("[\n" + ",\n".join(answers) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
