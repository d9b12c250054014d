# The course itself as a class folder: `mlsys class new .` makes class.yml, which holds all settings.
from mlsysbook.grading.config import configure

configure(get_config(), __file__)  # noqa: F821  (nbgrader defines get_config)
