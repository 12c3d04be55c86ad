"""The picture of an application: complete, self-contained, and the same twice."""

from __future__ import annotations

import re
import xml.etree.ElementTree as xml

import pytest

from hostwright import application
from hostwright.graph import graph


@pytest.mark.parametrize("format", ["svg", "mermaid"])
def test_shows_every_service_store_and_published_port(format: str) -> None:
    warehouse = application.load("warehouse")
    picture = graph(warehouse, format)
    for name, service in warehouse.services.items():
        assert f"{name}:{service.file.port}" in picture
        assert f">{service.file.title}<" in picture
    for store in warehouse.stores:
        assert f">{store}<" in picture
    for port in warehouse.ports():
        assert port.scope == "internal" or f"{port.number} {port.protocol}" in picture
    for route in warehouse.gateway.routes:
        assert route.path in picture
    assert "order_notifications" in picture
    if format == "mermaid":
        for edge in warehouse.edges():
            assert re.search(rf"^  {edge.source} -.*[>|] {edge.target}$", picture, re.MULTILINE), edge
    assert graph(application.load("warehouse"), format) == picture


def test_svg_is_well_formed_and_needs_nothing_else() -> None:
    picture = graph(application.load("warehouse"))
    root = xml.fromstring(picture)  # noqa: S314  (our own)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    width, height = (float(root.attrib[side]) for side in ("width", "height"))
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        assert 0 <= float(text.attrib["x"]) <= width
        assert 0 <= float(text.attrib["y"]) <= height
    for outside in ("href", "url(http", "@import", "<script"):
        assert outside not in picture


@pytest.mark.parametrize("format", ["svg", "mermaid"])
@pytest.mark.parametrize("name", application.names())
def test_every_application_can_be_drawn(name: str, format: str) -> None:
    app = application.load(name)
    picture = graph(app, format)
    assert [each.file.title for each in app.services.values() if each.file.title not in picture] == []
    assert [each.port for each in app.gateway.listeners if str(each.port) not in picture] == []
