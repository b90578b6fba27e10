"""Problems with real input and no download: a language model of real text, and name recall."""

from throughtime.tasks.corpus import Corpus, python_manual, read_text, standard_library
from throughtime.tasks.language_model import LanguageModel, language_model
from throughtime.tasks.name_recall import NameRecaller, name_recall

__all__ = [
    "Corpus",
    "LanguageModel",
    "NameRecaller",
    "language_model",
    "name_recall",
    "python_manual",
    "read_text",
    "standard_library",
]
