"""A job that needs torch; those of `toy_jobs` start without this import."""

import torch


def threads(folder, report):
    """The number of threads of torch in this job."""
    return torch.get_num_threads()


def card(folder, report):
    """The number of GPUs that this process sees, and the sum of two ones that it has added on the first."""
    return [torch.cuda.device_count(), torch.ones(2, device="cuda").sum().item()]
