"""The addresses of the UI."""

from django.urls import path

from sosgui import views

urlpatterns = [
    path("", views.about),
    path("grafana/", views.about),
    path("grafana/query", views.query),
]
