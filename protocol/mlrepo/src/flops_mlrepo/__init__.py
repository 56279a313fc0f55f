"""What an ML repository must offer, what it may use, and the worker that runs it.

For code in a repository: :func:`load_dataset`, :func:`load_table` and :func:`load_arrays` give the learner's share of
the node's data. Nothing else here is meant for repositories.
"""

from flops_mlrepo.data import DataError as DataError
from flops_mlrepo.data import load_arrays as load_arrays
from flops_mlrepo.data import load_dataset as load_dataset
from flops_mlrepo.data import load_table as load_table
