"""Under which terms a model is offered, and what they allow whom.

Room: library. Licences are data, answers and rules are files, a verdict is a pure function of them
with a quoted clause for each reason. It helps to decide; it is not legal advice.
"""

from __future__ import annotations

from freehold.library.terms.judging import NO_ADVICE, Reason, Verdict, assess, question_text
from freehold.library.terms.licences import (
    Clause,
    Condition,
    Licence,
    known_licences,
    licence_named,
    licence_text,
)
from freehold.library.terms.openness import COMPONENTS, Openness, openness_of
from freehold.library.terms.policy import Policy, apply_policies, may_accept, read_policy
from freehold.library.terms.profile import (
    INDIVIDUAL,
    QUESTIONS,
    Profile,
    check_name,
    parse_answer,
    profile_path,
    read_profile,
    write_profile,
)
from freehold.library.terms.subject import Subject, subject_of
from freehold.library.terms.texts import text_digest

__all__ = [
    "COMPONENTS",
    "INDIVIDUAL",
    "NO_ADVICE",
    "QUESTIONS",
    "Clause",
    "Condition",
    "Licence",
    "Openness",
    "Policy",
    "Profile",
    "Reason",
    "Subject",
    "Verdict",
    "apply_policies",
    "assess",
    "check_name",
    "known_licences",
    "licence_named",
    "licence_text",
    "may_accept",
    "openness_of",
    "parse_answer",
    "profile_path",
    "question_text",
    "read_policy",
    "read_profile",
    "subject_of",
    "text_digest",
    "write_profile",
]
