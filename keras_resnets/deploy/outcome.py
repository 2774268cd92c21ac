"""The outcome of a deployment: written folders, and targets that failed."""

import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_resnets.errors import ExportError

# How the message about one target ends.
_NOTHING = "; nothing was written"


@dataclasses.dataclass(frozen=True)
class Deployment:
    """A written folder of a target.

    Attributes:
        target: name of the target.
        folder: path of the folder.
        report: contents of its `report.json`.
    """

    target: str
    folder: pathlib.Path
    report: dict[str, Any]


class TargetsFailed(ExportError):
    """Some of several targets failed; the folders of the others were written.

    Attributes:
        deployments: the written folders.
        failures: the error of each target that failed, by its name.
    """

    def __init__(
        self, deployments: Sequence[Deployment], failures: Mapping[str, Exception]
    ) -> None:
        self.deployments, self.failures = tuple(deployments), dict(failures)
        reasons = "; ".join(
            f"{name}: {str(error).removesuffix(_NOTHING)}"
            for name, error in self.failures.items()
        )
        written = ", ".join(str(one.folder) for one in self.deployments)
        super().__init__(
            f"{len(self.failures)} of {len(self.failures) + len(self.deployments)} "
            f"targets failed: {reasons}; written: {written or 'nothing'}"
        )
