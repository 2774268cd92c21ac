"""The tables (CSV files) that the package contains."""

import csv


def rows_of(package: str, name: str) -> list[dict[str, str]]:
    """Returns the rows of a table, by the names of its columns.

    Args:
        package: the package of the file, such as `"keras_resnets.networks"`.
        name: name of the CSV file. Lines that start with `#` are comments.
    """
    # Imported here: importing the package would otherwise take 3 % longer.
    import importlib.resources

    text = importlib.resources.files(package).joinpath(name).read_text("utf-8")
    lines = text.splitlines(keepends=True)
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))
