"""A picture of an application: who may reach which port, what goes where, what is kept in which store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from html import escape

from hostwright.application import Application, Listener, Port, Route, Service
from hostwright.application.gateway import OWN

Format = Callable[[Application], str]


def graph(application: Application, format: str = "svg") -> str:
    """The picture as a self-contained SVG document, or as Mermaid text (`format="mermaid"`)."""
    return {"svg": _svg, "mermaid": _mermaid}[format](application)


# --- SVG ---

CARD, GAP, MARGIN = 264, 44, 40  # widths
LINE = 20  # height of a line of text

STYLE = """
svg { font-family: Inter, "Segoe UI", system-ui, "DejaVu Sans", sans-serif; }
text { fill: #1b2430; font-size: 13px; }
.title { font-size: 24px; font-weight: 700; }
.name { font-size: 16px; font-weight: 650; }
.small { font-size: 12px; fill: #5b6675; }
.mono { font-family: "JetBrains Mono", "DejaVu Sans Mono", ui-monospace, monospace; font-size: 12px; }
.tag { font-size: 11px; fill: #5b6675; }
.note { font-size: 11.5px; fill: #5b6675; paint-order: stroke; stroke: #f6f7f9; stroke-width: 6px; }
.card { fill: #ffffff; stroke: #d5dae1; }
.gateway { fill: #1f3044; stroke: none; }
.gateway-text { fill: #ffffff; }
.gateway-small { fill: #b6c4d4; font-size: 12px; }
.zone { fill: none; stroke: #c3cad4; stroke-dasharray: 5 5; }
.edge { fill: none; stroke: #8b97a6; stroke-width: 1.6; }
.ask { stroke-dasharray: 5 4; }
.public { fill: #c2410c; } .host { fill: #1d5fa8; } .internal { fill: #64707f; }
.pill { fill: #ffffff; font-size: 12px; font-weight: 600; }
.stripe { fill: #3f8f6b; } .store { fill: #7a5ea8; }
""".strip()


@dataclass
class Canvas:
    """SVG elements in the order in which they are painted; lines go beneath everything else."""

    lines: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        where = f'x="{x:g}" y="{y:g}"' + (f' text-anchor="{anchor}"' if anchor != "start" else "")
        self.shapes.append(f'<text {where} class="{kind}">{escape(text)}</text>')

    def box(self, x: float, y: float, width: float, height: float, kind: str, radius: float = 10) -> None:
        size = f'width="{width:g}" height="{height:g}" rx="{radius:g}"'
        self.shapes.append(f'<rect x="{x:g}" y="{y:g}" {size} class="{kind}"/>')

    def pill(self, x: float, y: float, text: str, scope: str) -> float:
        """A port, in the colour of its scope, with its left edge at x; returns its width."""
        width = _width(text, 7.1) + 24
        self.box(x, y, width, 26, scope, 13)
        self.text(x + width / 2, y + 17.5, text, "pill", "middle")
        return width

    def lock(self, x: float, y: float) -> None:
        self.shapes.append(
            f'<g transform="translate({x:g} {y:g})" aria-label="needs a token">'
            '<path d="M2.5 6V4a3 3 0 0 1 6 0v2" fill="none" stroke="#5b6675" stroke-width="1.5"/>'
            '<rect x="1" y="5.5" width="9" height="6.5" rx="1.5" fill="#5b6675"/></g>'
        )

    def arrow(self, path: str, kind: str = "") -> None:
        self.lines.append(f'<path d="{path}" class="edge {kind}" marker-end="url(#arrow)"/>')


def _svg(application: Application) -> str:
    services = list(application.services.values())
    stores = _beneath(application)
    columns = max(len(services), len(stores), 2)
    inner = columns * CARD + (columns - 1) * GAP
    width = inner + 2 * MARGIN + 2 * GAP
    left = MARGIN + GAP
    canvas = Canvas()

    def place(index: int, many: int) -> float:
        """Left edge of a card in a row of so many, in the middle."""
        return left + (inner - many * CARD - (many - 1) * GAP) / 2 + index * (CARD + GAP)

    canvas.text(MARGIN, 56, application.title, "title")
    canvas.text(
        MARGIN,
        78,
        f"{len(services)} services, {len(stores)} stores, {len(_published(application))} ports on the host",
        "small",
    )

    # Ports on the host, then the gateway that owns them.
    top = 112
    ports_y, gateway_y = top, top + 64
    x: float = left
    for listener in application.gateway.listeners:
        pill = canvas.pill(x, ports_y, _said(application, listener), listener.scope)
        canvas.arrow(f"M{x + pill / 2:g} {ports_y + 26} V{gateway_y - 5}")
        x += pill + 12
    gateway_height = 66
    canvas.box(left, gateway_y, inner, gateway_height, "gateway")
    canvas.text(left + 20, gateway_y + 28, "Gateway", "name gateway-text")
    canvas.text(left + 20, gateway_y + 49, _gateway_says(application), "gateway-small")

    # Services, as high as the one that says most.
    said = {service.name: _service_says(application, service) for service in services}
    services_y = gateway_y + gateway_height + 74
    height = 72 + LINE * max(len(lines) for lines in said.values())
    middles: dict[str, float] = {}
    for index, service in enumerate(services):
        x = place(index, len(services))
        middles[service.name] = x + CARD / 2
        _service_card(canvas, x, services_y, height, service, said[service.name])
        if ("gateway", service.name) in _edges(application, "serves"):
            canvas.arrow(f"M{x + CARD / 2:g} {gateway_y + gateway_height} V{services_y - 6}")
    if asked := application.gateway.asked:
        x = middles[asked] + CARD / 4
        canvas.arrow(f"M{x:g} {gateway_y + gateway_height} V{services_y - 6}", "ask")
        canvas.text(x + 8, services_y - 30, "who is it?", "note")
    _calls(canvas, application, middles, services_y, height)

    # Stores.
    stores_y = services_y + height + 96
    most = max((len(application.stores[name].databases) for name in stores), default=0)
    store_height = 112 + LINE * most
    for index, name in enumerate(stores):
        x = place(index, len(stores))
        _store_card(canvas, application, name, x, stores_y, store_height)
        users = [each for each in services if name in _stores_of(each)]
        for number, service in enumerate(users):
            landing = x + CARD * (number + 1) / (len(users) + 1)
            _drop(canvas, service, name, middles[service.name], services_y + height, landing, stores_y)
    bottom = stores_y + store_height if stores else services_y + height
    zone_y = gateway_y - 24
    size = f'width="{width - 2 * MARGIN}" height="{bottom + 28 - zone_y:g}" rx="16"'
    canvas.lines.insert(0, f'<rect x="{MARGIN}" y="{zone_y}" {size} class="zone"/>')
    canvas.text(width - MARGIN - 14, zone_y - 8, "the application's network", "tag", "end")
    _legend(canvas, left, bottom + 52)
    return _document(width, bottom + 100, application.title, canvas)


def _service_card(
    canvas: Canvas, x: float, y: float, height: float, service: Service, lines: list[Line]
) -> None:
    canvas.box(x, y, CARD, height, "card")
    canvas.box(x, y, 5, height, "stripe", 2.5)
    canvas.text(x + 20, y + 29, service.file.title, "name")
    if service.contract:
        canvas.text(x + CARD - 16, y + 29, f"contract {service.contract}", "tag", "end")
    many = f"{service.replicas} instance{'s' if service.replicas > 1 else ''}"
    canvas.text(
        x + 20, y + 48, f"{service.name}:{service.file.port}, {many}, {service.file.memory} MiB", "tag"
    )
    for number, line in enumerate(lines):
        base = y + 74 + number * LINE
        canvas.text(x + 20, base, line.text, "mono" if line.path else "small")
        end = x + 20 + _width(line.text, 7.3) + 8
        if line.locked:
            canvas.lock(end, base - 10)
        elif line.remark:
            canvas.text(end, base, line.remark, "tag")


def _store_card(
    canvas: Canvas, application: Application, name: str, x: float, y: float, height: float
) -> None:
    store = application.stores[name]
    canvas.box(x, y, CARD, height, "card")
    canvas.box(x, y, 5, height, "store", 2.5)
    canvas.text(x + 20, y + 29, name, "name")
    canvas.text(x + CARD - 16, y + 29, f"{name}:{store.traits.port}", "mono small", "end")
    canvas.text(x + 20, y + 48, f"{store.image}, {store.memory or store.traits.memory} MiB", "tag")
    for number, (database, role) in enumerate(store.databases.items()):
        base = y + 74 + number * LINE
        canvas.text(x + 20, base, database, "mono")
        canvas.text(x + 20 + _width(database, 7.3) + 8, base, f"of {role}", "tag")
    if store.port is not None:
        canvas.pill(x + 20, y + height - 40, f"{store.port} {store.traits.protocol}", store.scope)


def _drop(canvas: Canvas, service: Service, store: str, x: float, y: float, to_x: float, to_y: float) -> None:
    """A line from a service down to a store, with what goes along it."""
    wanted = _stores_of(service)
    start = x + (wanted.index(store) - (len(wanted) - 1) / 2) * 40
    middle = (y + to_y) / 2
    canvas.arrow(f"M{start:g} {y:g} C{start:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y - 6:g}")
    if store == service.broker:
        queues = [*service.file.publishes, *service.file.consumes]
        canvas.text((start + to_x) / 2, middle + 4, ", ".join(queues), "note", "middle")


def _calls(
    canvas: Canvas, application: Application, middles: dict[str, float], y: float, height: float
) -> None:
    """Who calls whom: straight between neighbours, else through the space above the row."""
    order = list(application.services)
    for source, target in [*_edges(application, "calls"), *_edges(application, "tells")]:
        here, there = order.index(source), order.index(target)
        side = 1 if there > here else -1
        start, end = middles[source] + side * CARD / 2, middles[target] - side * CARD / 2
        if abs(there - here) == 1:
            level = y + height - 26
            canvas.arrow(f"M{start:g} {level:g} H{end - side * 6:g}", "ask")
            canvas.text((start + end) / 2, level - 8, "asks", "note", "middle")
        else:
            start, end = middles[source] - side * CARD / 4, middles[target] + side * CARD / 4
            canvas.arrow(
                f"M{start:g} {y:g} C{start:g} {y - 44:g} {end:g} {y - 44:g} {end:g} {y - 6:g}", "ask"
            )


def _legend(canvas: Canvas, x: float, y: float) -> None:
    for scope, meaning in (
        ("public", "public: from outside"),
        ("host", "host: on the host's loopback only"),
        ("internal", "internal: everything else, in the application's network"),
    ):
        canvas.box(x, y, 14, 14, scope, 4)
        canvas.text(x + 22, y + 11.5, meaning, "tag")
        x += 22 + _width(meaning, 6.1) + 28
    canvas.lock(x, y + 0.5)
    canvas.text(x + 18, y + 11.5, "needs a token", "tag")


def _document(width: float, height: float, title: str, canvas: Canvas) -> str:
    body = "\n".join([*canvas.lines, *canvas.shapes])
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">
<title>{escape(title)}</title>
<style>{STYLE}</style>
<defs><marker id="arrow" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0.5 7 4 0 7.5z" fill="#8b97a6"/></marker></defs>
<rect width="100%" height="100%" fill="#f6f7f9"/>
{body}
</svg>
"""


def _width(text: str, character: float) -> float:
    """How wide a text is drawn, near enough: SVG cannot say before it is drawn."""
    return len(text) * character


# --- What the picture says ---


@dataclass(frozen=True)
class Line:
    """A line in a service's card."""

    text: str
    path: bool = False
    locked: bool = False
    remark: str = ""


def _service_says(application: Application, service: Service) -> list[Line]:
    routes: Iterable[Route] = (each for each in application.gateway.routes if each.service == service.name)
    return [
        Line(each.path, True, each.authentication == "required", "WebSocket" if each.websocket else "")
        for each in routes
    ]


def _edges(application: Application, kind: str) -> list[tuple[str, str]]:
    """From whom to whom, where both are of the application."""
    return [(edge.source, edge.target) for edge in application.edges() if edge.target and edge.kind == kind]


def _gateway_says(application: Application) -> str:
    gateway = application.gateway
    said = [gateway.image, f"bodies up to {gateway.body} KiB"]
    if gateway.authentication:
        who = application.services[gateway.authentication.service].file.title
        said.append(f"asks {who} about every token ({gateway.authentication.path})")
    if gateway.tokens:
        said.append("checks every token itself")
    return ", ".join(said)


def _said(application: Application, listener: Listener) -> str:
    """`443 https`, `80 http to 443`, `8080 http to Orders`."""
    text = f"{listener.port} {listener.protocol}"
    if listener.redirect and application.https:
        return f"{text} \u2192 {application.https.port}"
    if listener.service and listener.service != OWN:
        return f"{text} \u2192 {application.services[listener.service].file.title}"
    return text


def _published(application: Application) -> list[Port]:
    return [port for port in application.ports() if port.scope != "internal"]


def _stores_of(service: Service) -> list[str]:
    found = [service.database.store if service.database else None, service.broker]
    return [each for each in found if each]


def _beneath(application: Application) -> list[str]:
    """The stores in an order in which few lines cross: each near the middle of its users."""
    order = list(application.services.values())

    def middle(name: str) -> float:
        users = [place for place, each in enumerate(order) if name in _stores_of(each)]
        # A store of two kinds of use stands right of one of its own, where the middle is the same.
        broker = any(each.broker == name for each in order)
        return (sum(users) / len(users) if users else len(order)) + (0.1 if broker else 0)

    return sorted(application.stores, key=middle)


# --- Mermaid ---

LINES = {"serves": "-->", "asks": "-. who is it? .->", "calls": "-. asks .->", "tells": "-. tells .->"}


def _mermaid(application: Application) -> str:
    lines = ["flowchart TB"]
    for listener in application.gateway.listeners:
        lines.append(
            f'  port{listener.port}(["{_said(application, listener)}"]):::{listener.scope} --> gateway'
        )
    lines.append(f'  gateway["<b>Gateway</b><br/>{application.gateway.image}"]')
    for service in application.services.values():
        paths = "<br/>".join(
            line.text + (" (token)" if line.locked else "") for line in _service_says(application, service)
        )
        lines.append(
            f'  {service.name}["<b>{service.file.title}</b><br/>'
            f'{service.name}:{service.file.port}<br/>{paths}"]'
        )
    for kind, line in LINES.items():
        lines += [f"  {source} {line} {target}" for source, target in _edges(application, kind)]
    for name, store in application.stores.items():
        databases = "<br/>".join(store.databases)
        port = f"<br/>{store.port} {store.traits.protocol} ({store.scope})" if store.port else ""
        lines.append(f'  {name}[("<b>{name}</b><br/>{store.image}<br/>{databases}{port}")]')
        for service in application.services.values():
            if name in _stores_of(service):
                queues = ", ".join([*service.file.publishes, *service.file.consumes])
                label = f"|{queues}|" if name == service.broker and queues else ""
                lines.append(f"  {service.name} -->{label} {name}")
    lines += [
        "  classDef public fill:#c2410c,color:#fff,stroke:none",
        "  classDef host fill:#1d5fa8,color:#fff,stroke:none",
        "  classDef internal fill:#64707f,color:#fff,stroke:none",
    ]
    return "\n".join(lines) + "\n"
