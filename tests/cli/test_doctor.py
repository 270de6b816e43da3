"""`acore doctor`: everything that was looked at, and the remedy for each fault."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.fakes.command import Command
from tests.fakes.model_server import CHAT, ModelServer, openai_error
from typer.testing import Result

Invoke = Callable[..., Result]
WriteSettings = Callable[[str], Path]


def findings(out: str, state: str) -> dict[str, tuple[str, str]]:
    """Return the sentence and remedy of each finding in that state, by its subject."""
    found = json.loads(out)["findings"]
    return {it["subject"]: (it["sentence"], it["remedy"]) for it in found if it["state"] == state}


@pytest.mark.embedded
async def test_all_is_well_without_any_set_up(command: Command, home: Path) -> None:
    """The embedded model is enough; what else could be used and cannot is a note."""
    done = await command.run("doctor")
    assert (done.code, done.err) == (0, "")
    assert "✓ model        embedded/smollm2 answers.\n" in done.out
    assert f"✓ data         {home}/data: 0 conversations, intact\n" in done.out
    assert "· ollama       ollama cannot be reached.\n" in done.out
    assert "no key, so not asked\n               Set OPENROUTER_API_KEY or" in done.out
    assert "\n  embedded/smollm2: 4,096 tokens, text only\n" in done.out
    assert done.out.endswith("\nAll is well; · is worth a look.\n")
    assert "✗" not in done.out


def test_json_is_one_object(invoke: Invoke, scripted: None) -> None:
    """`--json` prints the whole report for programs, in a shape that stays."""
    result = invoke("doctor", "--json")
    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (0, "", 1)
    told = json.loads(result.stdout)
    assert told.keys() == {"ok", "findings", "models"}
    assert told["ok"] is True
    for finding in told["findings"]:
        assert finding.keys() == {"subject", "state", "sentence", "remedy"}
        assert finding["state"] in {"ok", "note", "fault"}
    subjects = {finding["subject"] for finding in told["findings"]}
    assert subjects >= {"settings", "data", "persona", "model", "demo", "ollama"}
    assert {"model": "demo/script", "context_tokens": 8192, "abilities": []} in told["models"]


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("ollama/tiny", "ollama/tiny cannot be reached."),
        ("embedded/giant", "embedded/giant does not exist there."),
    ],
)
def test_a_model_that_cannot_answer_is_a_fault(
    model: str, sentence: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is 1 if the chosen model does not answer, and each fault has its remedy."""
    monkeypatch.setenv("ACORE_CHAT__MODEL", model)
    result = invoke("doctor", "--json")
    assert result.exit_code == 1
    faults = findings(result.stdout, "fault")
    assert faults["model"][0] == sentence
    assert faults.keys() == {"model", model.partition("/")[0]}
    assert all(remedy for _, remedy in faults.values())


async def test_a_server_that_refuses_is_a_fault(command: Command, server: ModelServer) -> None:
    """The question of the examination is a real one, so a wrong key is found."""
    server.play(CHAT, openai_error(401, "Incorrect key: sk-very-secret", "invalid_api_key"))
    done = await command.run("doctor")
    assert (done.code, done.err) == (1, "")
    assert "✗ model        fake/tiny does not accept our key.\n" in done.out
    assert "Check the provider's key in the settings.\n" in done.out
    assert done.out.endswith("\nWhat is marked ✗ does not work as it is set up now.\n")
    assert "sk-very" not in done.out


def test_a_persona_that_is_not_there_is_a_fault(
    invoke: Invoke, scripted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong name in the settings is found before anybody talks."""
    monkeypatch.setenv("ACORE_CHAT__PERSONA", "nobody")
    result = invoke("doctor", "--json")
    assert result.exit_code == 1
    sentence, remedy = findings(result.stdout, "fault")["persona"]
    assert sentence == "There is no persona named 'nobody'."
    assert "tutor" in remedy


def test_a_damaged_history_is_a_fault(invoke: Invoke, scripted: None, home: Path) -> None:
    """A file that is no history is named and left as it is."""
    file = home / "data" / "history.sqlite3"
    file.parent.mkdir()
    file.write_text("My diary. " * 500)
    result = invoke("doctor", "--json")
    assert result.exit_code == 1
    sentence, remedy = findings(result.stdout, "fault")["data"]
    assert str(file) in sentence
    assert remedy
    assert file.read_text() == "My diary. " * 500


def test_damaged_records_are_a_fault(invoke: Invoke, scripted: None, home: Path) -> None:
    """The store of what people decided is read as the history is: whole, it is named; damage that
    nothing else meets is found, and what is no such file is named and left as it is."""
    well = findings(invoke("doctor", "--json").stdout, "ok")
    file = home / "data" / "records.sqlite3"
    assert well["records"] == (f"{file}: intact", "")
    for damage in (_spoil_an_index, lambda file: file.write_text("My diary. " * 500)):
        damage(file)
        result = invoke("doctor", "--json")
        assert result.exit_code == 1
        sentence, remedy = findings(result.stdout, "fault")["records"]
        assert str(file) in sentence
        assert remedy
    assert file.read_text() == "My diary. " * 500


def _spoil_an_index(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("INSERT INTO reservations (day, tokens, dollars) VALUES (1, 2, '3')")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = 'CREATE INDEX reservations_by_day"
            " ON reservations (tokens)' WHERE name = 'reservations_by_day'"
        )


def test_a_key_that_others_may_read_is_a_note(
    invoke: Invoke, write_settings: WriteSettings
) -> None:
    """A settings file that is open to all, with a key in it, is told with what mends it."""
    file = write_settings("""
        [chat]
        model = "demo/script"
        [providers.demo]
        kind = "scripted"
        [providers.openrouter]
        base_url = "http://127.0.0.1:1/v1"
        api_key = "sk-very-secret"
    """)
    file.chmod(0o644)
    result = invoke("doctor", "--json")
    assert result.exit_code == 0
    assert f"Run: chmod 600 {file}" in findings(result.stdout, "note")["settings"][0]
    assert "sk-very" not in result.output
