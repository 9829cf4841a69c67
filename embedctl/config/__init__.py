"""Every option of every command: its type, bounds, default and words. The only place where defaults stand.

A field of a section is a key of the YAML file and, in kebab-case, a flag. Precedence: default < `--config FILE` < flag.
No torch here: `embedctl --help` reads these files.
"""

from embedctl.config.base import TINY, Command, Section, Strings, option
from embedctl.config.checks import DoctorConfig, EvalConfig, ValidateConfig
from embedctl.config.encoding import EncodeConfig, SearchConfig
from embedctl.config.loading import commented, dump, flag_of, leaves, load, shown_as
from embedctl.config.losses import LossSection
from embedctl.config.mining import MineConfig
from embedctl.config.training import (
    TINY_OPTIM,
    OptimSection,
    RemineSection,
    RunSection,
    TextSection,
    TrainConfig,
    TuneSection,
    with_model_defaults,
)
