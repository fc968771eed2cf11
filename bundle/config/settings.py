"""Settings of the LDMS UI back-end: sosgui, an application of Django.

Written by ldms-install; from now on it is yours. After a change: ldms-install, which restarts the
service.
"""

import importlib
import importlib.util
import os

BASE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Made when this was installed, and known to this host alone.
with open("/run/ldms/secret-key", encoding="utf-8") as secret:
    SECRET_KEY = secret.read().strip()

DEBUG = False

# The names under which browsers and grafana may reach this host; Django refuses all others. Add
# what yours is called elsewhere, such as an alias in DNS.
ALLOWED_HOSTS = {{ allowed_hosts }} + ["localhost", "127.0.0.1", "[::1]"]
{% if address is not none %}
ALLOWED_HOSTS.append({{ address|url_host }})
{% endif %}

# Where the containers of collected data are, as the aggregator sees them and not this container:
# dsosd, which runs there, opens DSOS_ROOT/NAME.
DSOS_ROOT = {{ dsos_root }}
# The hosts of dsosd, one a line.
DSOS_CONF = "/opt/ovis/etc/dsosd.conf"
# Containers inside this one, where a site mounts some.
SOS_ROOT = {{ dsos_root }}

# Accounts and sessions; the directory is one of the host's, so that an upgrade keeps it.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "/var/lib/sosgui/db.sqlite3",
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

# To the journal: uwsgi's output goes there.
LOG_FILE = "/dev/stdout"
LOG_DATE_FMT = "%F %T"
ODS_LOG_FILE = "/dev/stdout"
ODS_LOG_MASK = "255"
ODS_GC_TIMEOUT = 10
os.environ.setdefault("SET_POS_KEEP_TIME", "3600")


def has(module):
    """Whether this image has a module: images differ in the parts of the UI."""
    return importlib.util.find_spec(module) is not None


INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "sosgui",
]
INSTALLED_APPS += [
    name
    for name in ("corsheaders", "container", "jobs", "objbrowser", "sos_db", "sosdb_auth")
    if has(name)
]
# Further parts bring a module that names their applications.
for part in ("ldms_settings", "grafana_settings", "baler_settings"):
    if has("sosgui." + part):
        INSTALLED_APPS += importlib.import_module("sosgui." + part).INSTALLED_APPS

if has("sosdb_auth"):
    AUTH_USER_MODEL = "sosdb_auth.SosdbUser"

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
if has("corsheaders"):
    MIDDLEWARE.insert(1, "corsheaders.middleware.CorsMiddleware")

ROOT_URLCONF = "sosgui.urls"
WSGI_APPLICATION = "sosgui.wsgi.application"
APPEND_SLASH = False
SESSION_EXPIRE_AT_BROWSER_CLOSE = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [os.path.join(BASE_DIR, "templates")],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

STATIC_URL = "/static/"
STATIC_ROOT = os.path.join(BASE_DIR, "assets")
STATICFILES_DIRS = [path for path in [os.path.join(BASE_DIR, "static")] if os.path.isdir(path)]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True

# What optional parts of the UI look for.
LDMS_CFG = {"aggregators": []}
SYSLOG_CFG = {"stores": []}
