# What the package offers, for type checkers and editors; `__init__.py` imports it lazily.
from scpo.api.models import Mixture as Mixture
from scpo.api.models import RewardModel as RewardModel
from scpo.api.models import mix as mix
from scpo.api.preferences import Preferences as Preferences
from scpo.api.training import train as train
from sweeps.api.run_results import Run as Run
from sweeps.api.start import sweep as sweep

__version__: str
