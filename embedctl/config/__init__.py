"""All options of all commands: type, bounds, default and description. Defaults are defined only here.

A field of a section is a key of the YAML file and, in kebab-case, an option on the command line. Precedence: default <
`--config FILE` < command line. These modules must not import torch, because `embedctl --help` imports them.
"""

from embedctl.config.base import TINY, Command, Section, Strings, option
from embedctl.config.checks import DoctorConfig, EvalConfig, ValidateConfig
from embedctl.config.encoding import EncodeConfig, SearchConfig
from embedctl.config.loading import choices, cli_option, commented_yaml, description, dump, flag_of, load, option_fields
from embedctl.config.losses import LossSection
from embedctl.config.mining import MineConfig
from embedctl.config.runs import RunSection
from embedctl.config.training import OptimSection, RemineSection, TextSection, TrainConfig, TuneSection
