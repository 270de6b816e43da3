"""What all tables of settings have in common: frozen, strict about keys, and silent on secrets."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from acore_bot.config.masking import masked


class Section(BaseModel):
    """A frozen table of settings that never shows a secret unless asked for."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=()
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, object]]:
        for name, value in super().__repr_args__():
            yield name, masked(name or "", value)

    @model_serializer(mode="wrap")
    def _masked(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        return {name: masked(name, value) for name, value in dump(self).items()}
