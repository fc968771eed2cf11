"""What the UI keeps in db.sqlite3, so that a test can see whether it outlives the container."""

from django.db import models


class Query(models.Model):
    """One question that was asked."""

    container = models.TextField()
