"""What uwsgi loads. Without a settings.py beside it, loading fails and every answer is a 500."""

import os

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sosgui.settings")
application = get_wsgi_application()
# The tables, where the database is new or empty.
call_command("migrate", run_syncdb=True, verbosity=0)
