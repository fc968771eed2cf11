"""Answers in the shape of the real UI's, with what it was configured with in place of data."""

import json
import os

from django.conf import settings
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt

from sosgui.models import Query


def about(_request):
    """Says what this is."""
    return JsonResponse({"name": "sosgui stand-in for tests"})


@csrf_exempt
def query(request):
    """Takes grafana's JSON question, records it, and says which container it would have opened."""
    try:
        asked = json.loads(request.body or b"{}")
        container = str(asked["targets"][0]["container"])
    except (ValueError, KeyError, IndexError, TypeError):
        container = ""
    Query.objects.create(container=container)
    try:
        with open(settings.DSOS_CONF, encoding="utf-8") as file:
            hosts = file.read().split()
    except OSError as error:
        return JsonResponse({"error": str(error)}, status=500)
    answer = {
        "container": os.path.join(settings.DSOS_ROOT, container),
        "hosts": hosts,
        "queries": Query.objects.count(),
        "datapoints": [],
    }
    return JsonResponse([answer], safe=False)
