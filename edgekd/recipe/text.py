"""The recipe's section [data.text]: which columns hold what, and how texts become token numbers."""

from typing import Self

from pydantic import Field, model_validator

from edgekd.recipe.section import Section


class Text(Section):
    """Texts: the columns of their file, and the tokenizer, which is trained on the training split or given."""

    column: str = Field(default="text", description="Column, or key of a JSON line, of the text. Default text.")
    label_column: str = Field(
        default="label", description="Column of the class; an empty cell is an unlabelled text. Default label."
    )
    id_column: str | None = Field(
        default=None, description="Column that names each text. Default: `id`, where there is such a column."
    )
    group_column: str | None = Field(
        default=None,
        description="Column of whom a text is from (an author, a thread); a group stands in one split only. Default: "
        "`group`, where there is such a column.",
    )
    max_tokens: int = Field(
        default=128,
        ge=1,
        le=1024,
        description="Where a text is cut, in tokens: the most that the exported network takes; a shorter text may come "
        "unpadded. Default 128: a paragraph; time grows with it.",
    )
    tokenizer: str | None = Field(
        default=None,
        description="A tokenizer.json of Hugging Face tokenizers, relative to the recipe, whose token 0 is padding: "
        "that of a teacher's run, or BERT's. Default: byte-pair encoding trained on the training split.",
    )
    vocabulary_size: int = Field(
        default=8_000,
        ge=258,
        description="Tokens of a trained tokenizer, at most. Default 8,000: their embeddings of 64 numbers are 2 MB in "
        "fp32.",
    )
    lowercase: bool = Field(
        default=True, description="Whether a trained tokenizer takes texts in lower case. Default true."
    )
    token_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Training-time augmentation: share of a text's tokens replaced by the unknown one (Iyyer et al. "
        "2015). Default 0.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.tokenizer is not None:
            for key in ("vocabulary_size", "lowercase"):
                if key in self.model_fields_set:
                    raise ValueError(f"{key} is set, but the tokenizer is given and brings its own; remove {key}")
        return self
