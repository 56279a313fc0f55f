"""Errors: typed, numbered, with a next step. Each code has a page in docs/errors/.

The letter says whose matter it is: S the project SLA, B the builder, D the deployment, T the training,
P the protocol and the mesh itself.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

ErrorCode = Annotated[str, StringConstraints(pattern=r"^FLOPS-[SBDTP][0-9]{3}$")]


class ErrorKind(NamedTuple):
    """What is the same for every error of one code."""

    title: str
    hint: str


CATALOGUE: dict[str, ErrorKind] = {
    # S: the project SLA and requests about projects
    "FLOPS-S001": ErrorKind(
        "The SLA is not JSON", "Check the document at the given line; comments and trailing commas are allowed."
    ),
    "FLOPS-S002": ErrorKind("The SLA has mistakes", "Correct every field that is listed, then submit again."),
    "FLOPS-S003": ErrorKind("No such project", "List the projects with `flops list`."),
    "FLOPS-S004": ErrorKind(
        "The submit token was used for another SLA", "Use a new token, or submit the same SLA again."
    ),
    "FLOPS-S005": ErrorKind("The project is not in a stage that allows this", "Look at its stage with `flops show`."),
    # B: the repository and its images
    "FLOPS-B001": ErrorKind(
        "The repository was not found", "Check the URL; for a local path, check that it is a Git repository."
    ),
    "FLOPS-B002": ErrorKind(
        "The repository wants credentials", "Give the mesh a deploy key or a credential for this host."
    ),
    "FLOPS-B003": ErrorKind("The repository has no commits", "Commit and push the ML code first."),
    "FLOPS-B004": ErrorKind(
        "The ref was not found in the repository", "Check ml_repo_ref: a branch, a tag or a full commit ID."
    ),
    "FLOPS-B005": ErrorKind(
        "The repository is over a limit", "Remove big files from the repository; data belongs on the nodes."
    ),
    "FLOPS-B006": ErrorKind(
        "This kind of repository URL is not allowed", "Use https://, ssh:// or a local path that the mesh allows."
    ),
    "FLOPS-B007": ErrorKind("The subfolder is not in the repository", "Check ml_repo_subdir."),
    "FLOPS-B008": ErrorKind("The repository could not be fetched", "Check that the host answers, then `flops retry`."),
    "FLOPS-B010": ErrorKind(
        "A required file is missing",
        "Add model_manager.py and data_manager.py at the root, in src/, or where ml_repo_subdir points.",
    ),
    "FLOPS-B011": ErrorKind("The code has a syntax error", "Correct the line that is shown."),
    "FLOPS-B012": ErrorKind(
        "The code does not offer what is required", "Add the class or method that is named; see docs/ml-repository.md."
    ),
    "FLOPS-B020": ErrorKind(
        "No dependency file", "Add a conda.yaml, pyproject.toml or requirements.txt that lists what the code imports."
    ),
    "FLOPS-B021": ErrorKind("The dependency file could not be read", "Correct the line that is shown."),
    "FLOPS-B022": ErrorKind(
        "The dependencies cannot be resolved together", "Loosen one of the requirements that are shown."
    ),
    "FLOPS-B023": ErrorKind(
        "A package has no wheel for a platform, and none can be built",
        "Choose a version that has wheels for all platforms of the SLA, or drop the platform.",
    ),
    "FLOPS-B024": ErrorKind(
        "No node has the Python version that is asked for",
        "Ask for a version that a node has, or leave the choice to the mesh.",
    ),
    "FLOPS-B025": ErrorKind(
        "The package index does not answer", "Check the index settings (UV_*, PIP_*) of the machine that builds."
    ),
    "FLOPS-B026": ErrorKind(
        "A package could not be built from its source", "Choose a version that has a wheel, or see what its log says."
    ),
    "FLOPS-B027": ErrorKind(
        "Building a package took more than it may",
        "Choose a version that has a wheel, or raise the limits of the machine that builds (FLOPS_WHEEL_*).",
    ),
    "FLOPS-B028": ErrorKind(
        "A source archive is not what it should be", "Choose another version, or check where the archive comes from."
    ),
    "FLOPS-B029": ErrorKind(
        "A package wants the network while it is built",
        "Builds have none. Choose a version that has a wheel, or whose source brings all that it needs.",
    ),
    "FLOPS-B030": ErrorKind(
        "The code failed in the smoke round",
        "Correct the line that is shown; the model must be constructible without data.",
    ),
    "FLOPS-B031": ErrorKind(
        "The model parameters are not arrays", "get_model_parameters() must return a list of NumPy arrays with numbers."
    ),
    "FLOPS-B032": ErrorKind(
        "The model parameters change on the way round",
        "set_model_parameters(p) followed by get_model_parameters() must give p back, in shape and dtype.",
    ),
    "FLOPS-B033": ErrorKind(
        "The code hangs in the smoke round", "Constructing the managers must not wait for anything."
    ),
    "FLOPS-B034": ErrorKind(
        "The code ended the process in the smoke round", "Remove sys.exit() and the like; raise an exception instead."
    ),
    "FLOPS-B035": ErrorKind(
        "The code took too much memory in the smoke round",
        "Make the model smaller, or raise resource_constraints.memory.",
    ),
    "FLOPS-B040": ErrorKind("The disk is full", "Free space on the machine that builds, then `flops retry`."),
    "FLOPS-B041": ErrorKind(
        "The image registry refuses, or does not answer",
        "Check the registry's address, space and rights, then `flops retry`.",
    ),
    "FLOPS-B042": ErrorKind("The builder was lost", "Look at its log with `flops logs`, then `flops retry`."),
    "FLOPS-B043": ErrorKind("The build took longer than its deadline", "Raise deadlines.building in the SLA."),
    "FLOPS-B044": ErrorKind(
        "The project was not resolved before its deadline",
        "Check that the repository's host answers, or raise deadlines.resolving in the SLA; then `flops retry`.",
    ),
    "FLOPS-B046": ErrorKind(
        "The image registry refuses the credentials",
        "Name a file with credentials in FLOPS_REGISTRY_CREDENTIALS (as `docker login` writes it), then `flops retry`.",
    ),
    "FLOPS-B047": ErrorKind(
        "The base image cannot be used",
        "Check FLOPS_BASE_IMAGE: an image that is there, for every platform of the SLA; `flops base` makes one.",
    ),
    "FLOPS-B048": ErrorKind(
        "The base image cannot be made",
        "Install mmdebstrap (Debian, Ubuntu: `apt-get install mmdebstrap`), and look at what it says.",
    ),
    "FLOPS-B050": ErrorKind(
        "The conda packages cannot be solved together", "Loosen one of the requirements that are shown."
    ),
    "FLOPS-B051": ErrorKind(
        "A conda package is not there for a platform",
        "Choose a package that the channels have for all platforms of the SLA, or drop the platform.",
    ),
    "FLOPS-B052": ErrorKind(
        "A conda channel does not answer",
        "Check the conda channels (FLOPS_CONDA_CHANNELS, condarc) of the machine that builds.",
    ),
    "FLOPS-B053": ErrorKind(
        "Conda packages are needed, and no channel is configured",
        "Set FLOPS_CONDA_CHANNELS, or conda's own `channels`, on the machine that builds.",
    ),
    "FLOPS-B060": ErrorKind(
        "The image has to be built with a container engine, and none answers",
        "Start an engine on the machine that builds, or name one with FLOPS_ENGINE; else remove what asks for it.",
    ),
    "FLOPS-B061": ErrorKind(
        "The engine could not build the image", "Correct what its last lines say; the whole output is in the log."
    ),
    "FLOPS-B062": ErrorKind(
        "The repository's image is not fit for the mesh",
        "It needs a python3 on its PATH, of Python 3.11 or later, the same minor on every platform.",
    ),
    # D: deployment
    "FLOPS-D001": ErrorKind("No node can take the actor", "Look at the reasons, node by node, and at `flops nodes`."),
    "FLOPS-D002": ErrorKind(
        "No node has data with these tags", "Add data with `flops data add --tag TAG FILE…` on a learner node."
    ),
    "FLOPS-D003": ErrorKind(
        "Fewer learners than min_available_clients", "Add nodes with the data, or lower min_available_clients."
    ),
    "FLOPS-D004": ErrorKind("An actor did not start", "Look at its log with `flops logs`."),
    "FLOPS-D005": ErrorKind(
        "The image does not run on the node's platform", "Add the platform to supported_platforms in the SLA."
    ),
    "FLOPS-D006": ErrorKind("The deployment took longer than its deadline", "Raise deadlines.deploying in the SLA."),
    "FLOPS-D007": ErrorKind("The image could not be unpacked", "Check the disk of the node, then `flops retry`."),
    # T: training
    "FLOPS-T001": ErrorKind(
        "The code cannot read the data", "Correct the line that is shown, or the data; the columns are listed."
    ),
    "FLOPS-T002": ErrorKind("The node has no rows for these tags", "Add data with `flops data add --tag TAG FILE…`."),
    "FLOPS-T003": ErrorKind(
        "fit_model() returned something else than a count", "Return the number of training samples, an int above 0."
    ),
    "FLOPS-T004": ErrorKind(
        "evaluate_model() returned something else than (loss, accuracy, count)",
        "Return a loss, an accuracy and the number of samples.",
    ),
    "FLOPS-T005": ErrorKind(
        "The model parameters changed their shape or dtype in training",
        "fit_model() must leave the parameters' number, shapes and dtypes as they are.",
    ),
    "FLOPS-T006": ErrorKind(
        "The loss or a parameter is not a finite number",
        "Lower the learning rate, or check the data for missing values.",
    ),
    "FLOPS-T007": ErrorKind("The code failed while training", "Correct the line that is shown."),
    "FLOPS-T008": ErrorKind(
        "The code did not answer in time", "Raise deadlines.round in the SLA, or make a round shorter."
    ),
    "FLOPS-T009": ErrorKind(
        "The code ended its process", "Remove sys.exit() and the like; raise an exception instead."
    ),
    "FLOPS-T010": ErrorKind(
        "The code took more memory than it may",
        "Raise resource_constraints.memory in the SLA, or read the data in parts.",
    ),
    "FLOPS-T011": ErrorKind("Too few learners are left", "Lower min_fit_clients, or look why learners were lost."),
    "FLOPS-T012": ErrorKind("A learner was lost", "The round goes on without it; look at its log with `flops logs`."),
    "FLOPS-T013": ErrorKind("The training took longer than its deadline", "Raise deadlines.training in the SLA."),
    "FLOPS-T014": ErrorKind(
        "The strategy cannot be used like this", "Check the strategy's name and its arguments in the SLA."
    ),
    "FLOPS-T015": ErrorKind(
        "MLflow does not answer", "Nothing is lost: metrics and model are kept and logged when it is back."
    ),
    "FLOPS-T016": ErrorKind(
        "The model could not be saved", "Check that ml_model_flavor fits what get_model() returns."
    ),
    "FLOPS-T017": ErrorKind("The aggregator was lost", "It is started again and goes on from its last checkpoint."),
    # P: the protocol and the mesh
    "FLOPS-P001": ErrorKind(
        "The message is over 256 kB", "Shorten the message; bulk bytes do not travel through MQTT."
    ),
    "FLOPS-P002": ErrorKind(
        "The message could not be read", "Compare it with the schema of its channel in protocol/schemas/v1/."
    ),
    "FLOPS-P003": ErrorKind("The topic is on no channel", "Look at the channels in docs/protocol.md."),
    "FLOPS-P004": ErrorKind("The broker refused the message", "Check the access rules of this client."),
    "FLOPS-P005": ErrorKind("The broker refused the subscription", "Check the access rules of this client."),
    "FLOPS-P006": ErrorKind(
        "The broker cannot be reached", "Check its address, and that it runs: `flops up` starts one."
    ),
    "FLOPS-P007": ErrorKind(
        "The message could not be handled", "Look at the reason in the dead letter, and at the service's log."
    ),
    "FLOPS-P008": ErrorKind("No answer in time", "Check with `flops show` that the service is up, then ask again."),
    "FLOPS-P009": ErrorKind("The port is taken", "Stop what listens there, or choose another port."),
    "FLOPS-P010": ErrorKind(
        "The mesh failed inside", "This is a defect of flops-mesh; please report it with the detail."
    ),
    "FLOPS-P011": ErrorKind("The broker refused the login", "Check the credential file, and the broker's users."),
    "FLOPS-P012": ErrorKind(
        "Another process took this one's name", "Run one process a name; the newer one stays, this one ends."
    ),
    "FLOPS-P013": ErrorKind(
        "A mesh runs on this state folder already", "Use that mesh, stop it with Ctrl-C, or choose another --state."
    ),
    "FLOPS-P014": ErrorKind(
        "The file is no data that can be added", "Give Parquet, CSV, .npz or .npy files, or a folder of images."
    ),
}


class ErrorBody(BaseModel):
    """An error as it travels. `file` and `line` point into the user's repository or document where that applies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: ErrorCode
    title: str
    detail: str
    hint: str
    file: str | None = None
    line: int | None = Field(default=None, ge=1)


class FlopsError(Exception):
    """Raised when something failed that a person can act on. `body` is what travels and what is shown."""

    body: ErrorBody
    """The error as it travels."""

    def __init__(
        self, code: str, detail: str, *, hint: str | None = None, file: str | None = None, line: int | None = None
    ) -> None:
        """Takes title and default hint from the catalogue.

        :raises KeyError: when the code is not in the catalogue
        """
        kind = CATALOGUE[code]
        self.body = ErrorBody(code=code, title=kind.title, detail=detail, hint=hint or kind.hint, file=file, line=line)
        super().__init__(str(self))

    @classmethod
    def from_body(cls, body: ErrorBody) -> FlopsError:
        """The same error again, on the other side of the wire; a code this side does not know is kept as it is."""
        error = cls.__new__(cls)
        error.body = body
        Exception.__init__(error, str(error))
        return error

    def __str__(self) -> str:
        place = "" if self.body.file is None else f"{self.body.file}:{self.body.line or 1}: "
        return f"{self.body.code} {self.body.title}: {place}{self.body.detail}"
