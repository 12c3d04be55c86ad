"""An admin's morning, in Polish and in the dark: who may do what, what was sold, whether all is well."""

from __future__ import annotations

import csv

import httpx2
from playwright.sync_api import expect
from testing.browser import PHONE
from testing.process import until

from tests import environment
from tests.environment import Account
from tests.journeys.conftest import Album, Visit
from tests.journeys.test_order import log_in

SERVICES = ("auth", "orders", "notification", "analytics", "mail", "storefront")


def test_a_role_is_given(visit: Visit, http: httpx2.Client, admin: Account, album: Album) -> None:
    """It counts at once, in a session that was begun before."""
    customer = environment.register(http)
    who, newcomer = visit(locale="pl-PL", color_scheme="dark"), visit(locale="pl-PL")
    log_in(newcomer, "/panel/", customer)
    expect(newcomer.page.get_by_role("heading", level=1)).to_have_text("Dla pracowników")
    log_in(who, "/panel/#/users", admin)
    page = who.page
    page.get_by_role("searchbox").fill(customer.email)
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tbody select").select_option("employee")
    expect(page.locator("#announcements")).to_contain_text(customer.email)
    page.get_by_role("searchbox").fill("")
    expect(page.locator("tbody tr")).not_to_have_count(1)
    album.take("users", page)
    newcomer.page.reload()
    expect(newcomer.page.locator("[data-status=new]")).to_be_visible()


def test_a_report_is_made_and_downloaded(visit: Visit, admin: Account, album: Album) -> None:
    order = {"customer_name": "Jan", "customer_email": admin.email, "source": "manual", "total_amount": 640}
    admin.ask("POST", "/api/orders", json=order).raise_for_status()
    until(lambda: orders(admin) == placed(admin), within=60)  # it hears of all that tests before this did
    who = visit(locale="pl-PL", color_scheme="dark")
    log_in(who, "/panel/#/reports", admin)
    page = who.page
    expect(page.locator(".tiles .card").first).to_contain_text(str(orders(admin)))
    album.take("reports", page)
    page.locator("select[name=type]").select_option("custom")
    with page.expect_response("**/api/reports/generate") as made:
        page.locator("form .primary").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Pobierz raport {made.value.json()['id']} jako CSV").click()
    with download.value.path().open(encoding="utf-8-sig", newline="") as content:
        assert sum(int(each["orders"]) for each in csv.DictReader(content)) == orders(admin)


def orders(admin: Account) -> int:
    return int(admin.ask("GET", "/api/reports/stats").raise_for_status().json()["total_orders"])


def placed(admin: Account) -> int:
    return int(admin.ask("GET", "/api/orders?limit=1").raise_for_status().headers["X-Total-Count"])


def test_every_service_answers(visit: Visit, admin: Account, album: Album) -> None:
    """On a telephone."""
    who = visit(locale="pl-PL", color_scheme="dark", **PHONE)
    log_in(who, "/panel/#/health", admin)
    for name in SERVICES:
        expect(who.page.locator(f"[data-service={name}]")).to_contain_text("Odpowiada")
    who.check_fits()
    album.take("health", who.page)
    who.go("/panel/")
    expect(who.page.locator("main .liveness")).to_have_text("Na żywo")
    expect(who.page.locator("[data-status=new] [data-order]").first).to_be_visible()
    who.check_fits()
    album.take("board-telephone", who.page)
