import json
import re
from dataclasses import replace

import pytest
from jupyterhub import roles, scopes
from traitlets.config import Config

from mlsysbook.hub.configure import configure, environment, server_files
from mlsysbook.hub.settings import Settings


@pytest.fixture
def config(settings):
    c = Config()
    configure(c, settings)
    return c


def extensions(settings, audience):
    files = server_files(settings, audience)
    server = json.loads(files["jupyter_server_config.json"])["ServerApp"]["jpserver_extensions"]
    lab = json.loads(files["labconfig/page_config.json"])["disabledExtensions"]
    return {name.rpartition(".")[2]: on for name, on in server.items()}, set(lab)


def test_students_list_and_validate_and_have_nothing_of_the_instructors(settings):
    server, lab_off = extensions(settings, "student")
    assert server == {"assignment_list": True, "validate_assignment": True, "formgrader": False, "course_list": False}
    assert {"@jupyter/nbgrader:formgrader", "@jupyter/nbgrader:create-assignment", "@jupyter/nbgrader:course-list"} <= lab_off
    assert not {"@jupyter/nbgrader:assignment-list", "@jupyter/nbgrader:validate-assignment"} & lab_off


def test_the_service_has_the_formgrader_and_no_assignment_list(settings):
    server, lab_off = extensions(settings, "instructor")
    assert server == {"assignment_list": False, "validate_assignment": True, "formgrader": True, "course_list": False}
    assert "@jupyter/nbgrader:formgrader" not in lab_off and "@jupyter/nbgrader:create-assignment" not in lab_off


@pytest.mark.parametrize("audience", ["student", "instructor"])
def test_nothing_is_asked_of_the_network(settings, audience):
    files = server_files(replace(settings, mathjax=True), audience)
    lab = json.loads(files["jupyter_lab_config.json"])["LabApp"]
    assert lab["news_url"] is None
    assert lab["check_for_updates_class"].endswith(".NeverCheckForUpdate")
    assert lab["extension_manager"] == "readonly"
    assert json.loads(files["labconfig/page_config.json"])["disabledExtensions"]["@jupyterlab/apputils-extension:announcements"]
    assert not any(re.search(r"https?:|[\"']//", text) for text in files.values()), "no address of another machine"


def test_nbgrader_of_a_student_knows_the_exchange_and_not_the_class(settings):
    text = server_files(settings, "student")["nbgrader_config.py"]
    c = Config()
    exec(text, {"get_config": lambda: c})
    assert c.Exchange == {"root": "/srv/exchange", "path_includes_course": True}
    assert c.CourseDirectory == {"course_id": "mlsys"}


def test_a_caller_alone_works_beside_the_class_and_not_in_a_home(settings):
    text = server_files(replace(settings, alone=True, work_dir="/home/ada/class/student"), "student")["nbgrader_config.py"]
    assert "c.Exchange.assignment_dir = '/home/ada/class/student'" in text


@pytest.mark.parametrize("audience", ["student", "instructor"])
def test_files_that_all_users_can_read_hold_no_secret(settings, audience):
    secret = replace(settings, auth="shared-password", student_password="for-students", instructor_password="for-instructors",
                     db_url="postgresql+psycopg2://prof:hunter2@db/grades")
    written = "".join(server_files(secret, audience).values()) + str(environment(secret, audience))
    for word in ("for-students", "for-instructors", "hunter2", secret.state_dir):
        assert word not in written


def test_roles_give_instructors_the_formgrader_and_nobody_more(config):
    assert config.JupyterHub.load_groups == {"formgrade-mlsys": {"users": ["prof", "ta"]}}
    (role,) = config.JupyterHub.load_roles
    assert role["groups"] == ["formgrade-mlsys"] and role["scopes"] == ["access:services!service=mlsys"]
    scopes._check_scopes_exist(role["scopes"], who_for="test")
    roles._validate_role_name(role["name"])
    (service,) = config.JupyterHub.services
    assert not service.get("admin") and service["user"] == "prof"
    assert "admin_users" not in config.ClassPAM and "admin_access" not in config.JupyterHub


def test_everything_but_the_proxy_listens_on_this_machine_only(settings):
    c = Config()
    configure(c, replace(settings, host="0.0.0.0"))
    assert c.JupyterHub.bind_url == "http://0.0.0.0:8000"
    for url in (c.JupyterHub.hub_bind_url, c.ConfigurableHTTPProxy.api_url, c.JupyterHub.services[0]["url"]):
        assert url.startswith("http://127.0.0.1:")


def test_instructors_arrive_at_the_formgrader_and_students_at_their_server(config):
    class Handler:
        def __init__(self, name):
            self.current_user = type("User", (), {"name": name})() if name else None

    where = config.JupyterHub.default_url
    assert where(Handler("ta")) == "/services/mlsys/formgrader"
    assert where(Handler("ada")) == where(Handler(None)) == ""


def test_passwords_go_to_the_authenticator_only(settings):
    c = Config()
    configure(c, replace(settings, auth="shared-password", student_password="s" * 8, instructor_password="i" * 8))
    assert c.JupyterHub.authenticator_class == "mlsysbook.hub.auth.ClassPassword"
    assert (c.ClassPassword.student_password, c.ClassPassword.instructor_password) == ("s" * 8, "i" * 8)
    assert "ssssssss" not in str(c.JupyterHub) + str(c.Spawner)


def test_settings_survive_the_way_to_the_hub(settings):
    assert Settings.loads(settings.dumps()) == settings
