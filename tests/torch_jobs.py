"""A job that needs torch; those of `toy_jobs` start without this import."""

import torch


def threads(folder, report):
    """The number of threads of torch in this job."""
    return torch.get_num_threads()
