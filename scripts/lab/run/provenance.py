"""Where figures come from: versions, machine and command."""

from __future__ import annotations

import platform

import torch

from scripts.lab.records.schema import Machine, Provenance
from scripts.lab.run.processes import shared_among
from tiednmt.packages import package_versions
from tiednmt.processor import cores, processor_name


def provenance(command: str, jobs: int, packages: tuple[str, ...] = ()) -> Provenance:
    """How ``command`` measured figures, with ``jobs`` runs at a time.

    ``packages`` are those that they depend on beside :data:`tiednmt.packages.PACKAGES`.
    """
    return Provenance(machine=machine(jobs), versions=package_versions(*packages), command=command)


def machine(jobs: int) -> Machine:
    """What the figures were measured on."""
    return Machine(
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        processor=processor_name(),
        cores=cores(),
        threads_per_run=shared_among(jobs)[0].threads,
        runs_side_by_side=jobs,
        python=platform.python_version(),
    )
