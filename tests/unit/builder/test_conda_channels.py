"""Which conda channels a machine has, and which of them a file gets."""

from __future__ import annotations

import pytest
from flops_builder.conda.channels import Channel, site_channels
from flops_builder.settings import BuilderSettings

LAB = "https://somebody:secret@packages.example.org/t/token-1/lab/"


def urls(channels):
    return [each.url for each in channels]


def test_the_builders_own_settings_come_first(tmp_path):
    (tmp_path / ".condarc").write_text("channels: [other]\nchannel_alias: https://conda.example.org\n")
    own = site_channels([f"{tmp_path}/lab", "file:///srv/second"], {}, {"HOME": str(tmp_path)})
    assert urls(own.configured) == [f"file://{tmp_path}/lab/", "file:///srv/second/"]
    assert [each.name for each in own.configured] == ["lab", "second"]


def test_condas_own_settings_count_where_the_builder_has_none(tmp_path):
    (tmp_path / ".condarc").write_text(
        "channels: [conda-forge, team, defaults]\nchannel_alias: https://conda.example.org\n"
        "custom_channels: {team: https://team.example.org}\n"
        "default_channels: [https://main.example.org/main, https://main.example.org/r]\n"
    )
    found = site_channels([], {}, {"HOME": str(tmp_path)})
    assert urls(found.configured) == [
        "https://conda.example.org/conda-forge/",
        "https://team.example.org/team/",
        "https://main.example.org/main/",
        "https://main.example.org/r/",
    ]


def test_the_environment_counts_before_files_and_mambas_before_condas(tmp_path):
    (tmp_path / ".condarc").write_text("channels: [https://a.example.org/a]\n")
    (tmp_path / "mambarc").write_text("channels: [https://b.example.org/b]\n")
    home = {"HOME": str(tmp_path)}
    assert urls(site_channels([], {}, home).configured) == ["https://a.example.org/a/"]
    home["MAMBARC"] = str(tmp_path / "mambarc")
    assert urls(site_channels([], {}, home).configured) == ["https://b.example.org/b/"]
    home["CONDA_CHANNELS"] = "https://c.example.org/c,https://d.example.org/d"
    assert urls(site_channels([], {}, home).configured) == ["https://c.example.org/c/", "https://d.example.org/d/"]


@pytest.mark.parametrize("text", ["channels: {", "- a\n", "\0", "channels: 3\n"])
def test_settings_that_cannot_be_read_are_none(tmp_path, text):
    (tmp_path / ".condarc").write_text(text)
    assert not site_channels([], {}, {"HOME": str(tmp_path)})


def test_nothing_is_configured_by_itself(tmp_path):
    assert not site_channels([], {}, {"HOME": str(tmp_path)})


def test_a_file_gets_what_it_names_first_and_only_what_is_allowed():
    names = {"lab": ["file:///srv/lab"]}
    found = site_channels(["https://a.example.org/a", "https://b.example.org/b"], names, {})
    chosen, refused = found.for_file(["lab", "b", "conda-forge"])
    assert urls(chosen) == ["file:///srv/lab/", "https://b.example.org/b/", "https://a.example.org/a/"]
    assert refused == ("conda-forge",)
    assert urls(found.for_file(["https://b.example.org/b", "nodefaults"])[0]) == ["https://b.example.org/b/"]
    assert found.for_file(["https://b.example.org/other"])[1] == ("https://b.example.org/other",)
    assert urls(found.for_file([])[0]) == ["https://a.example.org/a/", "https://b.example.org/b/"]


def test_what_is_only_mapped_is_asked_where_nothing_is_configured():
    found = site_channels([], {"lab": ["file:///srv/lab"]}, {})
    assert found
    assert urls(found.for_file(["conda-forge"])[0]) == ["file:///srv/lab/"]


def test_an_address_is_shown_without_what_is_nobodys_business():
    assert Channel("lab", LAB).public == "https://packages.example.org/lab/"
    assert Channel("lab", "file:///home/somebody/lab/").public == "file:lab/"
    found = site_channels([LAB], {}, {})
    assert found.locate("https://packages.example.org/lab/noarch/a-1-0.conda") == f"{LAB}noarch/a-1-0.conda"
    assert found.locate("https://elsewhere.example.org/lab/noarch/a-1-0.conda") is None
    assert urls(found.find("https://packages.example.org/lab")) == [LAB]


def test_settings_are_read_from_text(monkeypatch):
    monkeypatch.setenv("FLOPS_CONDA_CHANNELS", "conda-forge, file:///srv/lab")
    monkeypatch.setenv("FLOPS_CONDA_CHANNEL_NAMES", "conda-forge=https://a.example.org/x,conda-forge=file:///srv/y")
    settings = BuilderSettings()
    assert settings.conda_channels == ["conda-forge", "file:///srv/lab"]
    assert settings.conda_channel_names == {"conda-forge": ["https://a.example.org/x", "file:///srv/y"]}
    monkeypatch.setenv("FLOPS_CONDA_CHANNEL_NAMES", "conda-forge")
    with pytest.raises(ValueError, match="name=address"):
        BuilderSettings()
