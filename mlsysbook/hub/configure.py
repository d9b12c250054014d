"""Settings -> configuration, without side effects: of JupyterHub, and of the servers it starts.

Single-user servers read their part from a folder named in JUPYTER_CONFIG_PATH, so nothing is written into a home. Every
user can read that folder, so no secret may be written there.
Roles are the least that works: students have JupyterHub's default `user` role, instructors may in addition open the
formgrader service. Nobody is an administrator of the hub, and the service's own token has no rights at all.
"""

import json
from pathlib import Path

_EXTENSIONS = "nbgrader.server_extensions."
# nbgrader's extensions, with the audience of each. A class has one course, so nobody needs the course list.
_AUDIENCE = {
    "assignment_list": "student",
    "validate_assignment": "both",
    "formgrader": "instructor",
    "create_assignment": "instructor",      # a JupyterLab plugin without a server side
    "course_list": "nobody",
}
_NO_SERVER_SIDE = {"create_assignment"}


def server_files(settings, audience):
    """Files of a JUPYTER_CONFIG_PATH folder, path -> text. audience: "student" | "instructor" (the formgrader service)."""
    shown = {name: whom in (audience, "both") for name, whom in _AUDIENCE.items()}
    nbgrader = {
        "CourseDirectory": {"course_id": settings.course},
        "Exchange": {"root": settings.exchange, "path_includes_course": True},
    }
    if audience == "instructor":
        nbgrader["CourseDirectory"]["root"] = settings.class_dir      # its nbgrader_config.py says the rest, db_url too
    elif settings.alone:        # else "." serves: a server starts in its user's home
        nbgrader["Exchange"]["assignment_dir"] = settings.work_dir
    server = {
        "ServerApp": {"jpserver_extensions": {_EXTENSIONS + n: on for n, on in shown.items() if n not in _NO_SERVER_SIDE}},
        "LabApp": {                                     # no request leaves the machine
            "news_url": None,
            "check_for_updates_class": "jupyterlab.handlers.announcements.NeverCheckForUpdate",
            "extension_manager": "readonly",
        },
    }
    if audience == "student":                           # a server takes 170 MB and a kernel 70; give back what is idle
        server["MappingKernelManager"] = {"cull_idle_timeout": 2 * 3600, "cull_interval": 300}
        server["ServerApp"]["shutdown_no_activity_timeout"] = 3 * 3600
    if settings.mathjax:
        server["ServerApp"]["jpserver_extensions"]["jupyter_server_mathjax"] = audience == "instructor"
    off = [f"@jupyter/nbgrader:{name.replace('_', '-')}" for name, on in shown.items() if not on]
    page = {"disabledExtensions": dict.fromkeys([*off, "@jupyterlab/apputils-extension:announcements"], True)}
    files = {
        "nbgrader_config.py": _traitlets(nbgrader),
        "jupyter_server_config.json": _json({k: v for k, v in server.items() if k != "LabApp"}),
        "jupyter_lab_config.json": _json({"LabApp": server["LabApp"]}),
        "labconfig/page_config.json": _json(page),
    }
    if audience == "instructor":
        # The formgrader's template asks a public server for MathJax; nbconvert takes the first macro on JUPYTER_PATH.
        files["share/nbconvert/templates/formgrade/mathjax.html.j2"] = _mathjax_macro(settings)
    return files


def _mathjax_macro(settings):
    where = f"/services/{settings.service_name}/static/jupyter_server_mathjax/MathJax.js?config=TeX-AMS-MML_HTMLorMML-full,Safe"
    options = 'tex2jax: {inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]], processEscapes: true}, messageStyle: "none"'
    body = (f'<script type="text/x-mathjax-config">MathJax.Hub.Config({{{options}}});</script>\n<script src="{where}"></script>\n'
            if settings.mathjax else "")
    return f"{{%- macro mathjax(url='') -%}}\n{body}{{%- endmacro %}}\n"


def write_server_files(settings):
    for audience in ("student", "instructor"):
        for name, text in server_files(settings, audience).items():
            path = Path(settings.runtime_dir, audience, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def environment(settings, audience):
    """Variables of a single-user server, beside those that JupyterHub sets."""
    return {
        "JUPYTER_CONFIG_PATH": f"{settings.runtime_dir}/{audience}",
        "JUPYTER_PATH": f"{settings.runtime_dir}/{audience}/share",
        "PATH": f"{settings.bin_dir}:/usr/local/bin:/usr/bin:/bin",
        # Many people share few cores: spinning thread pools collapse there. A notebook may still ask for more.
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
    }


def configure(c, settings):
    """Fill `c`, the configuration object of JupyterHub."""
    state = Path(settings.state_dir)
    singleuser = f"{settings.bin_dir}/jupyterhub-singleuser"
    group = f"formgrade-{settings.course}"

    c.JupyterHub.bind_url = settings.bind_url
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{settings.hub_port}"
    c.ConfigurableHTTPProxy.command = list(settings.proxy)
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{settings.proxy_port}"
    c.ConfigurableHTTPProxy.pid_file = str(state / "proxy.pid")
    c.JupyterHub.db_url = f"sqlite:///{state}/jupyterhub.sqlite"
    c.JupyterHub.cookie_secret_file = str(state / "cookie_secret")

    kind = {"pam": "ClassPAM", "shared-password": "ClassPassword"}[settings.auth]
    c.JupyterHub.authenticator_class = f"mlsysbook.hub.auth.{kind}"
    c[kind].db_url = settings.db_url
    c[kind].instructors = set(settings.instructors)
    c[kind].alone = settings.alone
    c[kind].allowed_users = set(settings.instructors)
    if settings.auth == "shared-password":
        c.ClassPassword.student_password = settings.student_password
        c.ClassPassword.instructor_password = settings.instructor_password

    c.JupyterHub.spawner_class = "jupyterhub.spawner.LocalProcessSpawner"
    c.Spawner.cmd = [singleuser]
    c.Spawner.default_url = "/lab"
    c.Spawner.notebook_dir = settings.work_dir
    c.Spawner.environment = environment(settings, "student")
    c.Spawner.start_timeout = 180                       # a whole class arriving at once on a small machine
    c.Spawner.http_timeout = 120
    c.LocalProcessSpawner.interrupt_timeout = 3
    c.LocalProcessSpawner.term_timeout = 2
    c.LocalProcessSpawner.kill_timeout = 2

    c.JupyterHub.load_groups = {group: {"users": list(settings.instructors)}}
    c.JupyterHub.load_roles = [{
        "name": "class-instructor",
        "description": "Open the formgrader of this class",
        "groups": [group],
        "scopes": [f"access:services!service={settings.service_name}"],
    }]
    c.JupyterHub.services = [{
        "name": settings.service_name,
        "display": True,
        "url": f"http://127.0.0.1:{settings.service_port}",
        "command": [singleuser, f"--ServerApp.root_dir={settings.class_dir}"],
        "user": "" if settings.alone else settings.owner,
        "cwd": settings.class_dir,
        "environment": environment(settings, "instructor") | {"JUPYTERHUB_DEFAULT_URL": "/formgrader"},
        "oauth_no_confirm": True,
        "timeout": 120,
    }]
    formgrader = f"/services/{settings.service_name}/formgrader"
    if not settings.alone:
        c.JupyterHub.default_url = lambda handler: (
            formgrader if handler.current_user and handler.current_user.name in settings.instructors else "")


def _json(value):
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def _traitlets(config):
    lines = [f"c.{section}.{key} = {value!r}" for section, keys in config.items() for key, value in keys.items()]
    return "\n".join(["c = get_config()", *lines, ""])
