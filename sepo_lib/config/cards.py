"""The GPUs that a process may use, each as a value of CUDA_VISIBLE_DEVICES. torch is not imported here."""

import functools
import itertools
import os
import re
import shutil
import subprocess

#: The environment variable that says which GPUs a process sees. CUDA reads it at its first call.
VISIBLE = "CUDA_VISIBLE_DEVICES"
#: The environment variable that names the type of the device on which models run, such as cpu or mps.
DEVICE = "SEPO_DEVICE"
#: The environment variable with the number of jobs that share a GPU, for the processes of these jobs.
JOBS = "SEPO_GPU_JOBS"

_NAME = re.compile(r"[0-9]+|(?:GPU|MIG)-\S+")


def visible() -> list[str]:
    """The GPUs that this process sees: names or numbers of CUDA_VISIBLE_DEVICES, or else all of the machine.

    As CUDA does, this reads the variable up to the first entry that is no GPU. All GPUs of the machine are
    those that `nvidia-smi -L` lists, by their UUIDs: its order is not always that of CUDA. A GPU that is
    divided (MIG) counts as its parts. Empty without a GPU, with neither the variable nor nvidia-smi, and if
    SEPO_DEVICE asks for the CPU.
    """
    if os.environ.get(DEVICE) == "cpu":
        return []
    given = os.environ.get(VISIBLE)
    if given is None:
        return list(_of_machine())
    return list(itertools.takewhile(_NAME.fullmatch, (name.strip() for name in given.split(","))))


def listed(text: str) -> list[str]:
    """The UUIDs in the output of `nvidia-smi -L`; of a divided GPU those of its parts."""
    found: list[str] = []
    for name in re.findall(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)", text):
        if name.startswith("MIG-") and found and found[-1].startswith("GPU-"):
            found.pop()  # the GPU that this part belongs to
        found.append(name)
    return found


@functools.cache
def _of_machine() -> tuple[str, ...]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    done = subprocess.run([command, "-L"], capture_output=True, text=True, check=False)
    return tuple(listed(done.stdout)) if done.returncode == 0 else ()
