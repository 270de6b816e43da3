"""What the examination finds, over models that answer and models that do not."""

import pytest

from acore_bot.errors import AuthFailed, ModelError, ModelNotFound, Unavailable
from acore_bot.messages import Delta, End, Finding, ModelInfo
from acore_bot.ops.health import (
    MAX_DESCRIBED_MODELS,
    PROBE_TOKENS,
    ModelFinding,
    examine_provider,
    probe,
    report,
)
from acore_bot.providers.scripted import CUT, Answer, Scripted

WELL = Finding("data", "ok", "All there.")
ODD = Finding("ollama", "note", "Not there.", "Start it.")
BROKEN = Finding("model", "fault", "It is silent.", "Choose another.")


class Many(Scripted):
    """A provider of many models, which remembers those that it was asked to describe."""

    def __init__(self, count: int, *, unknown: str = "") -> None:
        super().__init__()
        self.models = tuple(f"m{number}" for number in range(count))
        self.described: list[str] = []
        self._unknown = unknown

    async def list_models(self) -> tuple[str, ...]:
        """Name them all."""
        return self.models

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Describe any but the unknown one."""
        self.described.append(model)
        if model == self._unknown:
            raise ModelNotFound(provider="many", model=model, remedy="Pull it.")
        return ModelInfo(context_tokens=100, abilities=frozenset({"vision", "tools"}))


class Unreachable(Scripted):
    """A provider whose server is not there."""

    async def list_models(self) -> tuple[str, ...]:
        """Fail to reach it."""
        raise Unavailable(provider="far", remedy="Check that its server runs.")


@pytest.mark.parametrize(
    ("findings", "ok"),
    [((), True), ((WELL, ODD), True), ((WELL, BROKEN), False), ((BROKEN, WELL, ODD), False)],
)
def test_only_a_fault_keeps_the_bot_from_running(findings: tuple[Finding, ...], ok: bool) -> None:
    """Notes are worth reading, but all is well with them."""
    model = ModelFinding(model="demo/script", context_tokens=None, abilities=())
    found = report(iter(findings), iter([model]))
    assert (found.ok, found.findings, found.models) == (ok, findings, (model,))


async def test_a_model_that_answers_is_well() -> None:
    """The probe is a real question, of a few tokens, and waits for the answer's end."""
    model = Scripted(answers=["Hello."])
    assert await probe(model, "demo/script") == Finding("model", "ok", "demo/script answers.")
    (request,) = model.requests
    assert (request.model, request.max_tokens) == ("demo/script", PROBE_TOKENS)
    assert model.open_streams == 0


@pytest.mark.parametrize(
    "answer",
    [
        [Delta("Hel"), End(finish_reason="length")],
        [Delta(reasoning="Hm."), End(finish_reason="length")],
        [End(finish_reason="stop")],
    ],
    ids=["cut at the limit", "still thinking", "nothing to say"],
)
async def test_an_answer_of_any_length_will_do(answer: Answer) -> None:
    """A few tokens may be too few to say anything: that the model ended by itself is enough."""
    assert (await probe(Scripted(answers=[answer]), "demo/script")).state == "ok"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (["Hel", CUT], "The answer of demo/script broke off."),
        ([AuthFailed(provider="demo", remedy="Mend.")], "demo does not accept our key."),
        (["Hel", Unavailable(provider="demo", remedy="Mend.")], "demo cannot be reached."),
    ],
    ids=["truncated", "refused", "broken"],
)
async def test_a_model_that_does_not_answer_is_a_fault(answer: Answer, sentence: str) -> None:
    """Each fault has its sentence and its remedy."""
    found = await probe(Scripted(answers=[answer]), "demo/script")
    assert (found.subject, found.state, found.sentence) == ("model", "fault", sentence)
    assert found.remedy


@pytest.mark.parametrize("kind", [Unavailable, AuthFailed, ModelNotFound])
async def test_a_fault_without_a_remedy_of_its_own_gets_one(kind: type[ModelError]) -> None:
    """Where a provider does not know what helps, the examination still says where to look."""
    found = await probe(Scripted(answers=[[kind(provider="demo")]]), "demo/script")
    assert found.state == "fault"
    assert found.remedy == "`acore --debug ask Hello` shows what the server said."


async def test_a_provider_is_described_by_its_models() -> None:
    """Each model is told with its window and abilities, by its whole name."""
    found, models = await examine_provider("many", Many(2), needed_model=None)
    assert found == Finding("many", "ok", "2 models")
    described = [(model.model, model.context_tokens, model.abilities) for model in models]
    abilities = ("tools", "vision")
    assert described == [("many/m0", 100, abilities), ("many/m1", 100, abilities)]


async def test_a_single_model_is_counted_as_one() -> None:
    """One is singular."""
    assert (await examine_provider("demo", Scripted(), needed_model=None))[0].sentence == "1 model"


async def test_a_cloud_of_models_is_counted_and_a_few_are_described() -> None:
    """Hundreds of models do not mean hundreds of questions."""
    provider = Many(1_234)
    found, models = await examine_provider("many", provider, needed_model=None)
    assert found.sentence == "1,234 models"
    assert len(models) == len(provider.described) == MAX_DESCRIBED_MODELS


async def test_of_the_needed_provider_the_needed_model_is_described() -> None:
    """What the bot answers with is what its owner wants to know of."""
    provider = Many(20)
    _, models = await examine_provider("many", provider, needed_model="m17")
    assert [model.model for model in models] == ["many/m17"]
    assert provider.described == ["m17"]


@pytest.mark.parametrize(("needed", "state"), [(None, "note"), ("tiny", "fault")])
async def test_a_provider_out_of_reach_is_a_fault_only_if_it_is_needed(
    needed: str | None, state: str
) -> None:
    """An unreachable server that nobody uses is worth a note."""
    found, models = await examine_provider("far", Unreachable(), needed_model=needed)
    assert (found.subject, found.state, found.sentence) == ("far", state, "far cannot be reached.")
    assert found.remedy == "Check that its server runs."
    assert models == ()


async def test_a_needed_model_that_is_not_there_is_a_fault() -> None:
    """A server that runs, but without the model, cannot do the job."""
    found, models = await examine_provider("many", Many(2, unknown="gone"), needed_model="gone")
    assert (found.state, found.sentence, found.remedy) == (
        *("fault", "many/gone does not exist there."),
        "Pull it.",
    )
    assert models == ()
