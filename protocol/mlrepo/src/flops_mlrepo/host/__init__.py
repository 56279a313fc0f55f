"""Starts the ML worker and talks to it. Needs the extra `flops-mlrepo[host]`."""

from flops_mlrepo.contract import WorkerFault as WorkerFault
from flops_mlrepo.host.errors import SMOKE_CODES as SMOKE_CODES
from flops_mlrepo.host.errors import TRAINING_CODES as TRAINING_CODES
from flops_mlrepo.host.errors import WorkerError as WorkerError
from flops_mlrepo.host.output import OutputSink as OutputSink
from flops_mlrepo.host.proc import anonymous_bytes_of as anonymous_bytes_of
from flops_mlrepo.host.proc import end_marked as end_marked
from flops_mlrepo.host.proc import marked_processes as marked_processes
from flops_mlrepo.host.settings import DataSource as DataSource
from flops_mlrepo.host.settings import WorkerSettings as WorkerSettings
from flops_mlrepo.host.settings import guest_files as guest_files
from flops_mlrepo.host.settings import guest_folder as guest_folder
from flops_mlrepo.host.settings import isolation_file as isolation_file
from flops_mlrepo.host.worker import Evaluation as Evaluation
from flops_mlrepo.host.worker import MlWorker as MlWorker
from flops_mlrepo.host.worker import Training as Training
from flops_mlrepo.host.worker import open_worker as open_worker
