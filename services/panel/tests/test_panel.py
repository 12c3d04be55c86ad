"""The warehouse's staff at work, in a real browser, while customers order."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Locator, Page, expect
from testing.browser import LOOKS, Visitor
from testing.process import until
from testing.shop import PASSWORD, Shop

Visit = Callable[..., Visitor]


def log_in(who: Visitor, email: str, password: str = PASSWORD) -> None:
    who.go("/panel/")
    who.page.locator("input[name=email]").fill(email)
    who.page.locator("input[name=password]").fill(password)
    who.page.locator("form .primary").click()
    expect(who.page.locator("input[name=password]")).to_have_count(0)


def card(page: Page, order: int, status: str = "") -> Locator:
    column = f"[data-status={status}] " if status else ""
    return page.locator(f"{column}[data-order='{order}']")


@pytest.fixture
def employee(shop: Shop, visit: Visit) -> Visitor:
    """Logged in, before the board, which is live."""
    who = visit()
    log_in(who, shop.user("employee"))
    expect(who.page.get_by_role("heading", level=1)).to_have_text("Board")
    expect(who.page.locator("main .liveness")).to_have_text("Live")
    return who


@pytest.fixture
def admin(shop: Shop, visit: Visit) -> Visitor:
    who = visit()
    log_in(who, shop.admin_email, shop.admin_password)
    expect(who.page.get_by_role("heading", level=1)).to_have_text("Board")
    return who


def test_from_order_to_delivery(shop: Shop, visit: Visit, employee: Visitor) -> None:
    """The board moves by itself, staff move orders on by mouse and by keys, the customer sees it."""
    page = employee.page
    email = shop.user()
    customer = visit()
    customer.go("/#/login")
    customer.page.locator("input[name=email]").fill(email)
    customer.page.locator("input[name=password]").fill(PASSWORD)
    customer.page.locator("form .primary").click()
    customer.page.get_by_role("button", name="Add to the basket: Oak board").click()
    customer.page.get_by_role("link", name="Basket, 1 thing").click()
    customer.page.get_by_label("Your name").fill("Zofia Lis")
    customer.page.get_by_role("button", name="Place the order").click()
    customer.page.wait_for_url(re.compile(r"#/orders/\d+$"))
    order = int(customer.page.url.rpartition("/")[2])
    reached = customer.page.locator(".progress [aria-current]")

    expect(card(page, order, "new")).to_contain_text("Zofia Lis")
    card(page, order).drag_to(page.locator("[data-status=confirmed]"))
    expect(card(page, order, "confirmed")).to_be_visible()
    expect(reached).to_have_text("Confirmed")

    card(page, order).get_by_role("link").focus()
    page.keyboard.press("Shift+ArrowRight")
    expect(card(page, order, "shipped")).to_be_visible()
    expect(card(page, order, "shipped").get_by_role("link")).to_be_focused()
    expect(page.locator("#announcements")).to_contain_text(f"Order {order} is now: Shipped")
    expect(reached).to_have_text("Shipped")

    card(page, order).get_by_role("button", name=f"Move order {order} to: Delivered").click()
    expect(card(page, order, "delivered")).to_be_visible()
    expect(reached).to_have_text("Delivered")
    statuses = [each["new_status"] for each in shop.call("GET", f"/api/orders/{order}/history", email).json()]
    assert statuses == ["new", "confirmed", "shipped", "delivered"]


def test_a_card_cannot_be_dropped_where_it_may_not_go(shop: Shop, employee: Visitor) -> None:
    order = shop.place(shop.user())
    page = employee.page
    expect(card(page, order, "new")).to_be_visible()
    source, target = card(page, order).bounding_box(), page.locator("[data-status=shipped]").bounding_box()
    assert source
    assert target
    page.mouse.move(source["x"] + 20, source["y"] + 8)
    page.mouse.down()
    page.mouse.move(target["x"] + 40, target["y"] + 40, steps=5)
    inviting = page.locator(".column.inviting")
    expect(inviting).to_have_count(2)  # confirmed and cancelled
    page.mouse.up()
    expect(inviting).to_have_count(0)
    assert shop.call("GET", f"/api/orders/{order}", shop.admin_email).json()["status"] == "new"
    expect(card(page, order, "new")).to_be_visible()


def test_two_who_move_the_same_order(shop: Shop, employee: Visitor) -> None:
    """The second is told what the first made of it."""
    order = shop.place(shop.user())
    page = employee.page
    expect(card(page, order, "new")).to_be_visible()
    page.route(
        f"**/api/orders/{order}", lambda route: route.abort(), times=1
    )  # the board does not hear of it
    employee.expect_complaint("ERR_FAILED|409")
    with page.expect_request(f"**/api/orders/{order}"):
        shop.change(order, "cancelled")
    card(page, order).get_by_role("link").focus()
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".note.bad")).to_contain_text("It is Cancelled now.")
    expect(card(page, order, "cancelled")).to_be_visible()


def test_cards_are_walked_with_arrows_and_cancelled_with_delete(shop: Shop, employee: Visitor) -> None:
    email = shop.user()
    first, second, third = (shop.place(email) for _ in range(3))
    shop.change(third, "confirmed")
    page = employee.page
    expect(card(page, third, "confirmed")).to_be_visible()
    expect(card(page, second, "new")).to_be_visible()
    card(page, second).get_by_role("link").focus()
    page.keyboard.press("ArrowDown")
    expect(card(page, first).get_by_role("link")).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    expect(card(page, third).get_by_role("link")).to_be_focused()
    page.keyboard.press("Delete")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    dialog.get_by_role("button", name="Cancel the order").click()
    expect(card(page, third, "cancelled")).to_be_visible()


def test_filters_are_the_address(shop: Shop, employee: Visitor) -> None:
    email = shop.user()
    wanted = shop.place(email, customer_name="Bogumił Żak", source="zrodlo_jeden")
    other = shop.place(email, customer_name="Bogumił Żak", source="manual")
    page = employee.page
    expect(card(page, other)).to_be_visible()
    page.get_by_label("Customer's name").fill("bogumił")
    page.get_by_label("Source").select_option("Source one")
    expect(card(page, other)).to_have_count(0)
    expect(card(page, wanted)).to_be_visible()
    page.reload()
    expect(card(page, wanted)).to_be_visible()
    expect(page.get_by_label("Customer's name")).to_have_value("bogumił")
    late = shop.place(email, customer_name="Bogumił Żak", source="zrodlo_jeden")
    hidden = shop.place(email, customer_name="Ktoś Inny", source="zrodlo_jeden")
    expect(card(page, late)).to_be_visible()
    expect(card(page, hidden)).to_have_count(0)
    page.get_by_role("link", name="Orders", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Orders")
    page.get_by_label("Customer's name").fill("bogumił")
    expect(page.get_by_text("3 orders")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(3)


def test_an_order_with_its_history(shop: Shop, employee: Visitor) -> None:
    order = shop.place(shop.user())
    employee.go(f"/panel/#/orders/{order}")  # as notifications link to it
    page = employee.page
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Order {order}")
    page.get_by_role("button", name="Confirm").click()
    steps = page.locator(".timeline > li")
    expect(steps).to_have_count(2)
    expect(steps.nth(1)).to_contain_text("you")
    shop.change(order, "shipped")
    expect(steps).to_have_count(3)
    expect(steps.nth(2)).to_contain_text("Admin, user")
    expect(page.get_by_role("button", name="Deliver")).to_be_visible()


def test_notifications_come_by_themselves(shop: Shop, employee: Visitor) -> None:
    page = employee.page
    order = shop.place(shop.user(), customer_name="Kinga Nowa")
    expect(page.locator("#unread")).to_be_visible()
    page.get_by_role("link", name="Notifications").click()
    item = page.locator(".rows > li").filter(has_text="Kinga Nowa")
    expect(item.filter(has_text="New order")).to_be_visible()
    expect(page.locator("#unread")).to_be_hidden()
    shop.change(order, "confirmed")
    expect(item).to_have_count(2)
    page.get_by_role("combobox", name="Language").select_option("pl")
    expect(item.filter(has_text="Nowe zamówienie")).to_be_visible()


@pytest.fixture
def told(shop: Shop) -> int:
    """An order that analytics has heard of, as of all before it."""
    order = shop.place(shop.user(), source="manual", total_amount=1200)
    placed = int(shop.call("GET", "/api/orders?limit=1", shop.admin_email).headers["X-Total-Count"])
    until(lambda: shop.call("GET", "/api/reports/stats", shop.admin_email).json()["total_orders"] == placed)
    return order


def test_reports(shop: Shop, told: int, employee: Visitor) -> None:
    page = employee.page
    page.get_by_role("link", name="Reports").click()
    stats = shop.call("GET", "/api/reports/stats", shop.admin_email).json()
    expect(page.locator(".tiles .card").first).to_have_text(f"Orders{stats['total_orders']}")
    chart = page.locator(".chart").filter(has_text="Turnover by source")
    chart.get_by_text("As a table").click()
    expect(chart.get_by_role("row", name=re.compile("By hand"))).to_be_visible()
    expect(page.locator(".chart").first.locator(".bars .bar").nth(27)).to_be_attached()
    page.get_by_label("Step").select_option("Month")
    expect(page.locator(".chart").first.locator(".bars .bar")).not_to_have_count(30)

    page.get_by_label("Report").select_option("The period above")
    page.get_by_role("button", name="Make a report").click()
    row = page.get_by_role("row", name=re.compile("The period above")).first
    expect(row).to_be_visible()
    with page.expect_download() as download:
        row.get_by_role("button", name=re.compile("as CSV")).click()
    assert download.value.suggested_filename.endswith(".csv")
    with download.value.path().open(encoding="utf-8-sig", newline="") as content:
        assert sum(int(each["orders"]) for each in csv.DictReader(content)) == stats["total_orders"]


@pytest.mark.parametrize("place", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_days_are_the_shops(shop: Shop, visit: Visit, place: str) -> None:
    """Of these two places one at least has another date than the shop, at any time."""
    who = visit(timezone_id=place)
    log_in(who, shop.admin_email, shop.admin_password)
    who.page.get_by_role("link", name="Reports").click()
    today = datetime.now(ZoneInfo("Europe/Warsaw")).date()
    expect(who.page.get_by_label("To", exact=True)).to_have_value(today.isoformat())
    begun = today - timedelta(days=29)
    expect(who.page.get_by_label("From", exact=True)).to_have_value(begun.isoformat())
    who.page.get_by_label("Report", exact=True).select_option("The period above")
    who.page.get_by_role("button", name="Make a report").click()
    first, last = (f"{day.day} {day:%b}[a-z]* {day.year}" for day in (begun, today))
    row = who.page.get_by_role("row", name=re.compile("The period above")).first
    expect(row).to_contain_text(re.compile(f"{first} – {last}"))
    with who.page.expect_download() as download:
        row.get_by_role("button", name=re.compile("as CSV")).click()
    assert download.value.suggested_filename.startswith(f"report-custom-{begun}-")


def test_an_admin_makes_an_employee(shop: Shop, visit: Visit, admin: Visitor) -> None:
    email = shop.user()
    newcomer = visit()
    log_in(newcomer, email)
    expect(newcomer.page.get_by_role("heading", level=1)).to_have_text("For staff")
    page = admin.page
    page.get_by_role("link", name="Users").click()
    page.get_by_role("searchbox", name="E-mail").fill(email)
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label(f"Role of {email}").select_option("Employee")
    expect(page.locator("#announcements")).to_contain_text(f"{email} is now: Employee")
    newcomer.page.reload()
    expect(newcomer.page.get_by_role("heading", level=1)).to_have_text("Board")
    expect(newcomer.page.get_by_role("link", name="Users")).to_have_count(0)
    newcomer.go("/panel/#/users")
    expect(newcomer.page.get_by_text("You may not do this.")).to_be_visible()

    page.get_by_role("button", name=f"End all sessions of {email}").click()
    page.get_by_role("dialog").get_by_role("button", name="End all").click()
    expect(page.locator("#announcements")).to_contain_text("session ended")
    newcomer.expect_complaint("401")
    newcomer.go("/panel/#/orders")
    expect(newcomer.page.get_by_role("heading", level=1)).to_have_text("Welcome back")


@pytest.mark.parametrize(
    ("locale", "users", "role", "of", "refusal"),
    [
        ("en-GB", "Users", "Role", "Role of {}", "The last admin must stay one"),
        ("pl-PL", "Użytkownicy", "Rola", "Rola: {}", "Ostatni administrator musi nim pozostać."),
    ],
)
def test_the_last_admin_stays_one(
    shop: Shop, visit: Visit, locale: str, users: str, role: str, of: str, refusal: str
) -> None:
    who = visit(locale=locale)
    log_in(who, shop.admin_email, shop.admin_password)
    page = who.page
    page.get_by_role("link", name=users).click()
    page.get_by_label(role, exact=True).select_option("admin")
    theirs = page.get_by_label(of.format(shop.admin_email))
    who.expect_complaint("409")
    theirs.select_option("customer")
    expect(page.locator(".note.bad")).to_contain_text(refusal)
    expect(theirs).to_have_value("admin")


def test_health_of_all_services(shop: Shop, admin: Visitor) -> None:
    page = admin.page
    page.get_by_role("link", name="Health").click()
    expect(page.get_by_text("Every service answers.")).to_be_visible()
    for name in ("auth", "orders", "notification", "analytics", "mail", "storefront"):
        expect(page.locator(f"[data-service={name}]")).to_contain_text("Answers")
    page.route("**/api/reports?limit=1", lambda route: route.fulfill(status=502))
    admin.expect_complaint("502")
    page.get_by_role("link", name="Board").click()
    page.get_by_role("link", name="Health").click()
    expect(page.locator("[data-service=analytics]")).to_contain_text("Answers 502")
    expect(page.get_by_text("1 service does not answer.")).to_be_visible()


def test_mails_and_what_they_look_like(shop: Shop, admin: Visitor) -> None:
    email = shop.user()
    shop.mail(email, "welcome")
    page = admin.page
    page.get_by_role("link", name="Mail").click()
    row = page.get_by_role("row", name=re.compile(re.escape(email)))
    expect(row).to_contain_text("Welcome")
    page.get_by_label("Kind").last.select_option("New password")
    page.get_by_label("Language").last.select_option("Polski")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator(".letter h3")).to_contain_text("hasł")


PLACES = [
    "",
    "#/orders",
    "#/orders/ORDER",
    "#/reports",
    "#/notifications",
    "#/users",
    "#/mail",
    "#/health",
    "#/account",
]


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_fits_a_phone_and_is_accessible(
    shop: Shop, told: int, visit: Visit, look: dict[str, Any]
) -> None:
    who = visit(**look)
    who.go("/panel/")
    expect(who.page.locator("main h1")).to_be_visible()
    who.check_fits()
    who.check_accessible()
    log_in(who, shop.admin_email, shop.admin_password)
    for place in PLACES:
        who.go(f"/panel/{place.replace('ORDER', str(told))}")
        expect(who.page.locator("main:not([aria-busy]) h1")).to_be_visible()
        who.check_fits()
        who.check_accessible()
