"""What a run of the tests cost: CPU seconds and peak memory of each worker and test.

KERAS_RESNETS_TEST_COSTS=/tmp/costs python -m pytest -n 2
python benchmarks/suite_costs.py /tmp/costs --top 30
"""

import argparse
import collections
import csv
import pathlib


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--top", type=int, default=20, help="tests that are listed")
    options = parser.parse_args()
    tests, files = [], collections.Counter()
    for path in sorted(options.folder.glob("*.csv")):
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            continue
        tests += rows
        highest = max(rows, key=lambda row: int(row["peak_mb"]))
        print(
            f"{path.stem}: {len(rows)} tests, "
            f"{sum(float(row['cpu_seconds']) for row in rows):.0f} s of CPU, "
            f"peak {highest['peak_mb']} MB in {highest['test']}, "
            f"{rows[-1]['kept_mb']} MB at the end, "
            f"{rows[-1]['children_peak_mb']} MB the largest child"
        )
    for row in tests:
        files[row["test"].split("::")[0]] += float(row["cpu_seconds"])
    print(f"all: {len(tests)} tests, {sum(files.values()):.0f} s of CPU")
    for name, seconds in files.most_common(options.top):
        print(f"{seconds:8.1f} s {name}")
    costliest = sorted(tests, key=lambda row: -float(row["cpu_seconds"]))
    for row in costliest[: options.top]:
        print(
            f"{float(row['cpu_seconds']):8.1f} s {row['peak_mb']:>6} MB {row['test']}"
        )


if __name__ == "__main__":
    main()
