"""The one tree of exceptions: what went wrong, what was expected, what to do about it.

Room: errors, the first; it imports nothing of Freehold and must not know HTTP, terminals or logs.

FreeholdError                            code, message, value, expected, found, hint
├─ FormatError    path, offset, field    BadMagic · UnsupportedVersion · Truncated · BadOffset
│                                        BadValue · DuplicateName · LimitExceeded
│                                        UnsupportedType · MissingShard
├─ LoadError      family, tensor         UnknownFamily · UnknownConfigKey · BadConfig
│                                        UnknownTokenizer · BadTokenizer · MissingTensor
│                                        UnexpectedTensor · ShapeMismatch
├─ SetupError     the machine's set-up   BadSetting
├─ LibraryError   getting and owning     DownloadFailed · DigestMismatch · DiskFull · BadReference
│                 weights                BadBundle · LicenceDenied · AcceptanceNeeded
│                                        UnknownLicence
├─ QuantizeError  writing other types    BadRecipe · OutOfReach
├─ EvalError      measuring models       BadTask · MissingData · NoIsolation · NotComparable
│                                        NotProven · TargetFailed
├─ ExportError    handing on what was    BadExport · RenderingDiffers · AnswersDrift
│                 taught
├─ TuneError      teaching models        BadTraining · BadDataset · NotAdmitted · BadCheckpoint
│                                        Diverged
├─ RequestError   param                  BadRequest · UnsupportedField · BadPrompt · PromptTooLong
│                 the asker's fault      BadSampling · BadSchema · BadToolSchema · UnknownModel
│                                        WrongTask · TemplateError · NotFound · TooLarge · TooSlow
│                                        WrongMediaType
├─ AccessError    who may do what        Unauthenticated · Forbidden
├─ CapacityError  retry_after_s          QueueFull · RateLimited · OutOfPages · ModelLoading
│                                        Draining · DeadlineExceeded · EngineDied
├─ StoreError     the database           StoreUnusable · ChainBroken
├─ ToolError      running tools          ToolCallUnparsable · ToolRetry · ToolFailed · ToolDenied
├─ PrivacyError   a promise was at risk  EgressBlocked · RetentionForbidden
└─ KernelError    our bug                UnsupportedIsa · ContractBroken

An error never holds the text of a prompt or of an answer: say its length instead.
"""

from __future__ import annotations

from freehold.errors.base import FreeholdError
from freehold.errors.evals import (
    BadTask,
    EvalError,
    MissingData,
    NoIsolation,
    NotComparable,
    NotProven,
    TargetFailed,
)
from freehold.errors.files import (
    BadConfig,
    BadMagic,
    BadOffset,
    BadTokenizer,
    BadValue,
    DuplicateName,
    FormatError,
    LimitExceeded,
    LoadError,
    MissingShard,
    MissingTensor,
    ShapeMismatch,
    Truncated,
    UnexpectedTensor,
    UnknownConfigKey,
    UnknownFamily,
    UnknownTokenizer,
    UnsupportedType,
    UnsupportedVersion,
)
from freehold.errors.house import (
    ChainBroken,
    ContractBroken,
    EgressBlocked,
    KernelError,
    PrivacyError,
    RetentionForbidden,
    StoreError,
    StoreUnusable,
    UnsupportedIsa,
)
from freehold.errors.publishing import AnswersDrift, BadExport, ExportError, RenderingDiffers
from freehold.errors.requests import (
    AccessError,
    BadPrompt,
    BadRequest,
    BadSampling,
    BadSchema,
    BadToolSchema,
    CapacityError,
    DeadlineExceeded,
    Draining,
    EngineDied,
    Forbidden,
    ModelLoading,
    NotFound,
    OutOfPages,
    PromptTooLong,
    QueueFull,
    RateLimited,
    RequestError,
    TemplateError,
    TooLarge,
    ToolCallUnparsable,
    ToolDenied,
    ToolError,
    ToolFailed,
    ToolRetry,
    TooSlow,
    Unauthenticated,
    UnknownModel,
    UnsupportedField,
    WrongMediaType,
    WrongTask,
)
from freehold.errors.tuning import (
    BadCheckpoint,
    BadDataset,
    BadTraining,
    Diverged,
    NotAdmitted,
    TuneError,
)
from freehold.errors.weights import (
    AcceptanceNeeded,
    BadBundle,
    BadRecipe,
    BadReference,
    BadSetting,
    DigestMismatch,
    DiskFull,
    DownloadFailed,
    LibraryError,
    LicenceDenied,
    OutOfReach,
    QuantizeError,
    SetupError,
    UnknownLicence,
)

__all__ = [
    "AcceptanceNeeded",
    "AccessError",
    "AnswersDrift",
    "BadBundle",
    "BadCheckpoint",
    "BadConfig",
    "BadDataset",
    "BadExport",
    "BadMagic",
    "BadOffset",
    "BadPrompt",
    "BadRecipe",
    "BadReference",
    "BadRequest",
    "BadSampling",
    "BadSchema",
    "BadSetting",
    "BadTask",
    "BadTokenizer",
    "BadToolSchema",
    "BadTraining",
    "BadValue",
    "CapacityError",
    "ChainBroken",
    "ContractBroken",
    "DeadlineExceeded",
    "DigestMismatch",
    "DiskFull",
    "Diverged",
    "DownloadFailed",
    "Draining",
    "DuplicateName",
    "EgressBlocked",
    "EngineDied",
    "EvalError",
    "ExportError",
    "Forbidden",
    "FormatError",
    "FreeholdError",
    "KernelError",
    "LibraryError",
    "LicenceDenied",
    "LimitExceeded",
    "LoadError",
    "MissingData",
    "MissingShard",
    "MissingTensor",
    "ModelLoading",
    "NoIsolation",
    "NotAdmitted",
    "NotComparable",
    "NotFound",
    "NotProven",
    "OutOfPages",
    "OutOfReach",
    "PrivacyError",
    "PromptTooLong",
    "QuantizeError",
    "QueueFull",
    "RateLimited",
    "RenderingDiffers",
    "RequestError",
    "RetentionForbidden",
    "SetupError",
    "ShapeMismatch",
    "StoreError",
    "StoreUnusable",
    "TargetFailed",
    "TemplateError",
    "TooLarge",
    "TooSlow",
    "ToolCallUnparsable",
    "ToolDenied",
    "ToolError",
    "ToolFailed",
    "ToolRetry",
    "Truncated",
    "TuneError",
    "Unauthenticated",
    "UnexpectedTensor",
    "UnknownConfigKey",
    "UnknownFamily",
    "UnknownLicence",
    "UnknownModel",
    "UnknownTokenizer",
    "UnsupportedField",
    "UnsupportedIsa",
    "UnsupportedType",
    "UnsupportedVersion",
    "WrongMediaType",
    "WrongTask",
]
