"""Names: what conda calls a PyPI project, what is no Python package, what people write for what they mean.

Tables only. A wrong entry costs a build; a missing one costs a line of an error message: be sparing.
"""

from __future__ import annotations

CONDA_TO_PYPI = {
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "py-opencv": "opencv-python",
    "opencv": "opencv-python",
    "py-xgboost": "xgboost",
    "py-xgboost-cpu": "xgboost",
    "py-xgboost-gpu": "xgboost",
    "tensorflow-base": "tensorflow",
    "tensorflow-mkl": "tensorflow",
    "tensorflow-gpu": "tensorflow",
    "matplotlib-base": "matplotlib",
    "dask-core": "dask",
    "msgpack-python": "msgpack",
    "python-graphviz": "graphviz",
    "pytables": "tables",
    "pyqt": "pyqt5",
    "pytorch_geometric": "torch-geometric",
    "pyg": "torch-geometric",
    "ruamel_yaml": "ruamel.yaml",
    "brotli-python": "brotli",
    "python-flatbuffers": "flatbuffers",
    "pyarrow-core": "pyarrow",
    "tensorboard-base": "tensorboard",
}
"""conda's name: PyPI's. Names that are equal but for case, `-`, `_` and `.` need no entry."""

_NOT_PYTHON = """
    _libgcc_mutex _openmp_mutex _tflow_select _py-xgboost-mutex
    blas libblas libcblas liblapack liblapacke mkl mkl-service mkl_fft mkl_random mkl-fft mkl-random mkl-include
    openblas libopenblas intel-openmp llvm-openmp libgomp nomkl tbb tbb-devel
    libgcc libgcc-ng libstdcxx libstdcxx-ng libgfortran libgfortran-ng libgfortran4 libgfortran5
    ld_impl_linux-64 ld_impl_linux-aarch64 kernel-headers_linux-64 sysroot_linux-64
    openssl ca-certificates zlib libzlib bzip2 xz liblzma liblzma-devel xz-tools xz-gpl-tools lz4-c zstd snappy
    brotli libbrotlicommon libbrotlidec libbrotlienc c-ares sqlite libsqlite readline ncurses tk tzdata
    libffi libuuid libnsl libxcrypt libexpat expat yaml libyaml gettext libiconv icu gmp mpfr mpc
    libpng libjpeg-turbo jpeg libtiff libwebp libwebp-base lcms2 openjpeg freetype libdeflate lerc giflib
    libxcb xorg-libxau xorg-libxdmcp fontconfig cairo pixman harfbuzz graphite2 glib pcre pcre2
    ffmpeg openh264 lame x264 x265 gnutls nettle libidn2 libunistring libtasn1
    libprotobuf libabseil libgrpc re2 orc arrow-cpp libarrow libparquet libthrift aws-c-common libcurl curl
    krb5 libssh2 libnghttp2 libev hdf5 libhdf5 libxgboost liblightgbm libtorch graphviz libxml2 libxslt
    gcc gxx gcc_linux-64 gxx_linux-64 clang cmake make ninja pkg-config compilers c-compiler cxx-compiler
    git wget nodejs openjdk r-base perl
    cudatoolkit cudnn nccl cuda cuda-toolkit cuda-version cuda-runtime cuda-libraries cuda-cudart cuda-cupti
    cuda-nvrtc cuda-nvtx cuda-opencl libcublas libcufft libcufile libcurand libcusolver libcusparse libnpp
    libnvjpeg libnvjitlink magma magma-cuda
    cpuonly pytorch-cuda pytorch-mutex python_abi python-abi
"""
NOT_PYTHON = frozenset(_NOT_PYTHON.split())
"""conda packages that PyPI has no twin of, and that no wheel needs."""

INSTALLERS = frozenset(
    {
        "pip",
        "setuptools",
        "wheel",
        "conda",
        "mamba",
        "uv",
        "poetry",
        "poetry-core",
        "pipenv",
        "virtualenv",
        "distribute",
        "pkg-resources",
    }
)
"""They install packages; nothing of an image is installed when it runs."""

TRACKING = frozenset({"mlflow", "mlflow-skinny", "mlflow-tracing"})

GUEST = frozenset({"flops-utils", "flops-mlrepo"})
"""What our own guest answers to."""

RENAMED = {
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "cv2": "opencv-python",
    "opencv": "opencv-python",
    "pytorch": "torch",
    "pil": "pillow",
    "yaml": "PyYAML",
    "bs4": "beautifulsoup4",
    "tensorflow-gpu": "tensorflow",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "attr": "attrs",
    "crypto": "pycryptodome",
    "pycrypto": "pycryptodome",
    "serial": "pyserial",
    "usb": "pyusb",
    "umap": "umap-learn",
    "opencv-contrib": "opencv-contrib-python",
}
"""What people write: what they mean. Each name on the left is no project of PyPI's, one that only warns, or one that
is dead in favour of the right one."""

HEADLESS = {"opencv-python": "opencv-python-headless", "opencv-contrib-python": "opencv-contrib-python-headless"}
"""Same modules, without windows: the others need libGL, which no node's image has."""

FRAMEWORKS = frozenset(
    {
        *("torch", "pytorch-lightning", "lightning", "tensorflow", "keras", "jax", "jaxlib", "flax"),
        *("scikit-learn", "xgboost", "lightgbm", "catboost", "transformers"),
    }
)
"""What models are written for: another release may train another model."""

TORCH = ("torch", "torchvision", "torchaudio")
"""What is built once for the CPU and once for each CUDA."""

IMPORTED_AS = {
    "scikit-learn": "sklearn",
    "scikit-image": "skimage",
    "opencv-contrib-python-headless": "cv2",
    "opencv-contrib-python": "cv2",
    "opencv-python-headless": "cv2",
    "opencv-python": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "beautifulsoup4": "bs4",
    "python-dateutil": "dateutil",
    "mlflow-skinny": "mlflow",
    "mlflow-tracing": "mlflow",
    "flops-utils": "flops_utils",
    "flops-mlrepo": "flops_mlrepo",
    "poetry-core": "poetry",
}
"""The module that a project is imported by, where it is not its own name; of several with one module, the last is the
one to ask for."""
