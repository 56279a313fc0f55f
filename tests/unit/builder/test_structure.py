"""The structure check: what is required, however it is written."""

from __future__ import annotations

import pytest
from flops_builder.source.modules import Modules
from flops_builder.source.structure import check_structure
from flops_protocol.errors import FlopsError


def check(write, **files):
    modules = Modules(write({name.replace("__", "/") + ".py": text for name, text in files.items()}), "3.11")
    check_structure(modules)
    return modules


def refused(write, **files):
    with pytest.raises(FlopsError) as caught:
        check(write, **files)
    return caught.value.body


def test_plain_classes(write, model, data):
    check(write, model_manager=model, data_manager=data)


def test_the_older_name_of_a_method(write, model, data):
    older = model.replace("set_model_data", "prepare_data")
    check(write, model_manager=older, data_manager=data)


def test_sources_in_src(write, model, data):
    check(write, src__model_manager=model, src__data_manager=data)


def test_alias_import_and_inheritance(write, model, data):
    linear = model.replace("ModelManager:", "Base:") + "class Linear(Base, ModelManagerTemplate): ...\n"
    check(
        write,
        model_manager="from models.linear import Linear as ModelManager\n",
        models____init__="",
        models__linear=f"from flops_utils.ml_repo_templates import ModelManagerTemplate\n{linear}",
        data_manager=data.replace("DataManager", "Mine") + "DataManager = Mine\n",
    )


def test_relative_and_star_imports(write, model, data):
    check(
        write,
        model_manager="from package import *\n",
        package____init__="from .inner import ModelManager\n",
        package__inner=model,
        data_manager=data,
    )


def test_what_cannot_be_told_is_left_to_the_smoke_round(write, data):
    check(write, model_manager="import zoo\nclass ModelManager(zoo.Model): ...\n", data_manager=data)
    check(write, model_manager="from zoo import *\n", data_manager=data)
    check(write, model_manager="import zoo\nModelManager = zoo.make()\n", data_manager=data)


def test_methods_that_are_assigned_or_conditional_count(write, model, data):
    text = model.replace("    def fit_model(self): ...\n", "    if True:\n        def fit_model(self): ...\n").replace(
        "    def get_model(self): ...\n", "    get_model = lambda self: None\n"
    )
    check(write, model_manager=text, data_manager=data)


@pytest.mark.parametrize("missing", ["model_manager", "data_manager"])
def test_missing_file(write, model, data, missing):
    files = {"model_manager": model, "data_manager": data}
    del files[missing]
    body = refused(write, **files)
    assert (body.code, body.file) == ("FLOPS-B010", f"{missing}.py")


def test_a_file_that_is_elsewhere_is_pointed_at(write, model, data):
    body = refused(write, app__model_manager=model, data_manager=data)
    assert "app/model_manager.py" in body.hint


def test_syntax_error_with_its_line(write, model, data):
    body = refused(write, model_manager=model + "def broken(:\n    pass\n", data_manager=data)
    assert (body.code, body.file, body.line) == ("FLOPS-B011", "model_manager.py", 8)
    assert "def broken(:" in body.detail


def test_syntax_error_in_a_module_that_is_imported(write, model, data):
    body = refused(write, model_manager="import helper\n" + model, helper="x = \n", data_manager=data)
    assert (body.code, body.file, body.line) == ("FLOPS-B011", "helper.py", 1)


def test_files_that_nobody_imports_may_be_anything(write, model, data):
    check(write, model_manager=model, data_manager=data, template="{{ cookiecutter }} = \n")


def test_no_class(write, data):
    body = refused(write, model_manager="class Other: ...\n", data_manager=data)
    assert (body.code, body.file) == ("FLOPS-B012", "model_manager.py")


def test_missing_methods_are_all_named(write, model, data):
    text = "import os\n\n" + model.replace("    def fit_model(self): ...\n", "").replace(
        "    def get_model(self): ...\n", ""
    )
    body = refused(write, model_manager=text, data_manager=data)
    assert (body.code, body.file, body.line) == ("FLOPS-B012", "model_manager.py", 3)
    assert "get_model, fit_model" in body.detail


def test_an_abstract_method_is_missing(write, model, data):
    text = "from abc import ABC, abstractmethod\n" + model.replace("ModelManager:", "Base(ABC):").replace(
        "    def fit_model", "    @abstractmethod\n    def fit_model"
    )
    body = refused(write, model_manager=text + "class ModelManager(Base): ...\n", data_manager=data)
    assert "fit_model" in body.detail
    check(write, model_manager=text + "class ModelManager(Base):\n    def fit_model(self): ...\n", data_manager=data)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("fit_model(self)", "fit_model(self, epochs)", "epochs has no default"),
        ("fit_model(self)", "fit_model(self, *, epochs)", "epochs has no default"),
        ("set_model_parameters(self, parameters)", "set_model_parameters(self)", "takes none"),
        ("def fit_model", "async def fit_model", "coroutine"),
        ("    def get_model(self)", "    @property\n    def get_model(self)", "property"),
        ("    def set_model_data", "    def __init__(self, data): ...\n    def set_model_data", "data has no default"),
    ],
)
def test_methods_that_cannot_be_called_as_they_are(write, model, data, old, new, said):
    body = refused(write, model_manager=model.replace(old, new), data_manager=data)
    assert body.code == "FLOPS-B012"
    assert said in body.detail
    assert body.line is not None


@pytest.mark.parametrize("new", ["fit_model(self, epochs=3)", "fit_model(self, *args, **kwargs)"])
def test_arguments_with_defaults_are_fine(write, model, data, new):
    check(write, model_manager=model.replace("fit_model(self)", new), data_manager=data)


def test_nothing_is_imported_or_run(write, model, data):
    check(write, model_manager="raise SystemExit(1)\n" + model, data_manager=data)


def test_imports_from_outside_with_their_place(write, model, data):
    text = "import os\nimport numpy as np\nfrom sklearn.svm import SVC\nimport helper\n" + model
    modules = check(write, model_manager=text, helper="def f():\n    import pandas\n", data_manager=data)
    assert modules.third_party("model_manager") == {
        "numpy": "model_manager.py:2",
        "sklearn": "model_manager.py:3",
        "pandas": "helper.py:2",
    }


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("from flops_utils.ml_repo_building_blocks import load_dataset\n", {"load_dataset"}),
        ("import flops_mlrepo\nflops_mlrepo.load_arrays()\n", {"load_arrays"}),
        ("def f():\n    from flops_mlrepo import load_table\n", {"load_table"}),
        ("def load_dataset(): ...\n", set()),
        ("from datasets import load_dataset\n", set()),
    ],
)
def test_loaders_of_the_guest(write, model, data, text, used):
    modules = check(write, model_manager=model, data_manager=text + data)
    assert modules.loaders("model_manager", "data_manager") == used or set(modules.loaders("data_manager")) == used


def test_the_optional_fit_config_takes_one_argument(write, model, data):
    check(write, model_manager=model + "    def set_fit_config(self, config): ...\n", data_manager=data)
    wrong = model + "    def set_fit_config(self): ...\n"
    body = refused(write, model_manager=wrong, data_manager=data)
    assert (body.code, body.file) == ("FLOPS-B012", "model_manager.py")
