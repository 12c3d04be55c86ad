from hostwright.render.environment import Environment
from hostwright.application import Application


def files(application: Application, environment: Environment) -> dict[str, str]:
    return {}
