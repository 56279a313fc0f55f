"""Who may write to a registry, and how it is known: passwords, tokens, certificates."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import trustme
from flops_protocol.errors import FlopsError
from flops_registry.distribution.book import BlobBook
from flops_registry.opening import Access, open_registry

from tests.integration.registry.samples import SLUG, sample
from tests.registries.process import PASSWORD, USER, RegistryServer, run, with_password
from tests.registries.tokens import token_service


def credentials(folder: Path, host: str, **entry: str) -> Path:
    """A file as `docker login` writes it."""
    file = folder / "config.json"
    file.write_text(json.dumps({"auths": {host: entry}, "HttpHeaders": {}}))
    return file


def encoded(password: str = PASSWORD) -> str:
    return base64.b64encode(f"{USER}:{password}".encode()).decode()


async def goes_round(server: RegistryServer, access: Access, folder: Path) -> None:
    """A push is found again."""
    made = await sample(folder / "made", server.url)
    async with open_registry(server.url, access) as registry:
        await registry.push(made.push)
        assert await registry.find(SLUG, made.source_key) is not None


async def refused(server: RegistryServer, access: Access) -> str:
    """What is said when it is refused."""
    with pytest.raises(FlopsError) as caught:
        async with open_registry(server.url, access) as registry:
            await registry.find(SLUG, f"sha256:{'0' * 64}")
    assert caught.value.body.code == "FLOPS-B046"
    detail = caught.value.body.detail
    assert PASSWORD not in detail
    assert encoded() not in detail
    return detail


@pytest.fixture(autouse=True)
def _nobodys_home(tmp_path, monkeypatch):
    """Who runs the tests may be logged in somewhere."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "nobody"))


class TestPassword:
    """Basic authentication."""

    @pytest.fixture
    async def server(self, tmp_path):
        async with with_password(tmp_path / "server") as server:
            yield server

    async def test_credentials_of_a_file(self, server, tmp_path):
        await goes_round(server, Access(credentials(tmp_path, server.host, auth=encoded())), tmp_path)

    async def test_credentials_of_dockers_own_file(self, server, tmp_path, monkeypatch):
        credentials(tmp_path, server.host, username=USER, password=PASSWORD)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        await goes_round(server, Access(), tmp_path)

    async def test_none_and_wrong_ones_are_refused(self, server, tmp_path):
        assert "there are no credentials" in await refused(server, Access())
        assert "no credentials" in await refused(
            server, Access(credentials(tmp_path, "other.example.org", auth="eDp5"))
        )
        assert USER in await refused(server, Access(credentials(tmp_path, server.host, auth=encoded("wrong"))))

    async def test_a_file_that_is_not_there(self, server, tmp_path):
        assert "none.json" in await refused(server, Access(tmp_path / "none.json"))


class TestToken:
    """A token service that signs, and a registry that compares the signature."""

    @pytest.fixture
    async def service(self):
        async with token_service() as service:
            yield service

    @pytest.fixture
    async def server(self, service, tmp_path):
        async with run(tmp_path / "server", auth=service.settings(tmp_path / "server")) as server:
            yield server

    async def test_a_token_for_what_is_done(self, server, service, tmp_path):
        await goes_round(server, Access(credentials(tmp_path, server.host, auth=encoded())), tmp_path)
        asked = {scope for scopes in service.asked for scope in scopes}
        assert f"repository:{SLUG}/learner:pull,push" in asked or f"repository:{SLUG}/learner:push,pull" in asked
        # One a repository and purpose, not one a request.
        assert len(service.asked) < 12

    async def test_tokens_that_run_out_are_asked_for_anew(self, server, service, tmp_path):
        service.seconds = 1
        await goes_round(server, Access(credentials(tmp_path, server.host, auth=encoded())), tmp_path)

    async def test_what_may_not_be_taken_over_is_uploaded(self, server, service, tmp_path):
        known = Access(credentials(tmp_path, server.host, auth=encoded()))
        made = await sample(tmp_path / "made", server.url)
        book = BlobBook(tmp_path / "book")
        for layer in made.layers.values():
            book.of(server.url).note(layer.digest, "others/secret")
        service.hidden = {"others/secret"}
        async with open_registry(server.url, known, book) as registry:
            pushed = await registry.push(made.push)
            assert pushed.blobs > len(made.layers)
            assert await registry.find(SLUG, made.source_key) is not None
        service.hidden = {f"{SLUG}/learner"}
        assert "answers 401" in await refused(server, known)

    async def test_a_refresh_token(self, server, tmp_path):
        await goes_round(server, Access(credentials(tmp_path, server.host, identitytoken="refresh-me")), tmp_path)

    async def test_who_gets_no_token_is_told(self, server, service, tmp_path):
        assert "gives no token" in await refused(server, Access())
        service.refuse = True
        known = Access(credentials(tmp_path, server.host, auth=encoded()))
        assert "gives no token" in await refused(server, known)


class TestPrivateAuthority:
    """TLS with a certificate that no system knows."""

    @pytest.fixture
    def authority(self):
        return trustme.CA()

    @pytest.fixture
    async def server(self, authority, tmp_path):
        leaf = authority.issue_cert("localhost", "127.0.0.1")
        (tmp_path / "chain.pem").write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
        tls = {"certificate": str(tmp_path / "chain.pem"), "key": str(tmp_path / "key.pem")}
        async with run(tmp_path / "server", http={"tls": tls}) as server:
            yield server

    async def test_the_authority_of_a_setting(self, server, authority, tmp_path):
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        await goes_round(server, Access(authority=tmp_path / "ca.pem"), tmp_path)

    async def test_the_authority_of_the_environment(self, server, authority, tmp_path, monkeypatch):
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        await goes_round(server, Access(), tmp_path)

    async def test_an_unknown_authority_is_told_at_once(self, server):
        with pytest.raises(FlopsError, match="FLOPS_REGISTRY_CA") as caught:
            async with open_registry(server.url) as registry:
                await registry.find(SLUG, f"sha256:{'0' * 64}")
        assert caught.value.body.code == "FLOPS-B041"

    async def test_a_file_without_certificates(self, server, tmp_path):
        (tmp_path / "empty.pem").write_text("nothing\n")
        with pytest.raises(FlopsError, match=r"empty\.pem"):
            async with open_registry(server.url, Access(authority=tmp_path / "empty.pem")):
                pass


async def test_an_address_with_a_password_in_it_is_refused():
    with pytest.raises(FlopsError) as caught:
        async with open_registry("https://user:hunter2@registry.example.org"):
            pass
    assert "hunter2" not in str(caught.value)
