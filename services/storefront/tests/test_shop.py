"""A customer's way through the shop, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import pytest
from kit.tokens import Issuer
from playwright.sync_api import Locator, Page, WebSocketRoute, expect
from testing.browser import LOOKS, Visitor
from testing.keys import Keys
from testing.process import until
from testing.shop import PASSWORD, Shop

Visit = Callable[..., Visitor]


def log_in(who: Visitor, email: str, password: str = PASSWORD) -> None:
    """From wherever there is no session."""
    who.go("/#/login")
    who.page.locator("input[name=email]").fill(email)
    who.page.locator("input[name=password]").fill(password)
    who.page.locator("form .primary").click()
    expect(who.page.locator("input[name=password]")).to_have_count(0)


def status(page: Page, name: str) -> None:
    expect(page.locator(".progress [aria-current]")).to_have_text(name)


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part
    return str(part.get_content())


def test_from_the_catalogue_to_the_parcel(shop: Shop, visit: Visit) -> None:
    who = visit()
    page = who.page
    who.go("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Things for the home, made to be kept")
    page.get_by_role("button", name="Add to the basket: Stoneware mug").click()
    page.get_by_role("button", name="Add to the basket: Wool blanket").click()
    page.get_by_role("link", name="Basket, 2 things").click()
    page.get_by_role("button", name="One more: Stoneware mug").click()
    expect(page.locator(".total strong")).to_have_text("PLN 397.00".replace(" ", "\N{NO-BREAK SPACE}"))

    page.get_by_role("link", name="Create an account").click()
    email = "ola@example.com"
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Create an account").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Basket")  # where she was
    expect(page.get_by_label("E-mail")).to_have_value(email)
    page.get_by_label("Your name").fill("Ola Nowak")
    page.get_by_role("button", name="Place the order").click()
    page.wait_for_url(re.compile(r"#/orders/\d+$"))
    status(page, "New")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    order = int(page.url.rpartition("/")[2])
    placed = shop.call("GET", f"/api/orders/{order}", email).json()
    assert placed["total_amount"] == 397
    assert (placed["customer_name"], placed["source"]) == ("Ola Nowak", "website")
    expect(page.get_by_role("link", name="Basket, 0 things")).to_be_visible()
    assert f"{order}" in text_of(shop.mail(email, "order"))

    for change, name in (("confirmed", "Confirmed"), ("shipped", "Shipped"), ("delivered", "Delivered")):
        shop.change(order, change)
        status(page, name)  # by itself
    expect(page.locator(".timeline > li")).to_have_count(4)
    expect(page.get_by_text(f"Order {order} is now: Delivered")).to_be_visible()
    page.get_by_role("link", name="← All your orders").click()
    expect(page.locator(f"[data-order='{order}']")).to_contain_text("Delivered")


def test_one_order_however_often_it_is_sent(shop: Shop, visit: Visit) -> None:
    email = shop.user()
    who = visit()
    page = who.page
    log_in(who, email)
    page.get_by_role("button", name="Add to the basket: Table lamp").click()
    page.get_by_role("link", name="Basket, 1 thing").click()
    page.get_by_label("Your name").fill("Jan Kowalski")
    # The order arrives, its answer does not: what a bad line does.
    lost: list[int] = []

    def lose(route: Any) -> None:
        lost.append(route.fetch().status)
        route.abort()

    page.route("**/api/orders", lose, times=1)
    who.expect_complaint("ERR_FAILED")
    page.get_by_role("button", name="Place the order").click()
    expect(page.get_by_role("alert").filter(has_text="cannot be reached")).to_be_visible()
    page.reload()
    page.get_by_label("Your name").fill("Jan Kowalski")
    page.get_by_role("button", name="Place the order").click()
    page.wait_for_url(re.compile(r"#/orders/\d+$"))
    assert lost == [201]
    assert len(shop.call("GET", "/api/orders", email).json()) == 1


def test_cancelling_while_it_is_new(shop: Shop, visit: Visit) -> None:
    email = shop.user()
    order = shop.place(email)
    who = visit()
    page = who.page
    log_in(who, email)
    who.go(f"/?order={order}")  # as mails link to it
    page.get_by_role("button", name="Cancel the order").click()
    page.get_by_role("button", name="Keep it").click()
    status(page, "New")
    page.get_by_role("button", name="Cancel the order").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the order").click()
    expect(page.get_by_text("This order has been cancelled. Nothing will be sent.")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel the order")).to_have_count(0)
    assert shop.call("GET", f"/api/orders/{order}", email).json()["status"] == "cancelled"


def test_without_a_websocket_it_polls(shop: Shop, visit: Visit) -> None:
    email = shop.user()
    order = shop.place(email)
    who = visit()
    who.page.route_web_socket(re.compile("/ws$"), lambda socket: socket.close())
    log_in(who, email)
    who.go(f"/#/orders/{order}")
    status(who.page, "New")
    expect(who.page.get_by_text("Every few seconds")).to_be_visible()
    shop.change(order, "confirmed")
    status(who.page, "Confirmed")


def test_a_lost_connection_comes_back(shop: Shop, visit: Visit) -> None:
    email = shop.user()
    order = shop.place(email)
    who = visit()
    codes = [1012, 1011]  # a restart of the service; anything else

    def pass_on(socket: WebSocketRoute) -> None:
        if codes:
            socket.close(code=codes.pop())
        else:
            socket.connect_to_server()

    who.page.route_web_socket(re.compile("/ws$"), pass_on)
    log_in(who, email)
    who.go(f"/#/orders/{order}")
    expect(who.page.get_by_text("Live", exact=True)).to_be_visible()
    shop.change(order, "confirmed")
    status(who.page, "Confirmed")


def test_a_token_that_has_expired_is_renewed_unnoticed(shop: Shop, visit: Visit, keys: Keys) -> None:
    email = shop.user()
    shop.place(email)
    who = visit()
    log_in(who, email)
    stale = Issuer(keys.private, "warehouse", -60).issue(user_id=1, email=email, role="customer", session="x")
    who.page.route(
        "**/api/orders?*",
        lambda route: route.continue_(headers={**route.request.headers, "authorization": f"Bearer {stale}"}),
        times=1,
    )
    who.expect_complaint("401")
    with who.page.expect_response("**/api/auth/refresh") as renewed:
        who.go("/#/orders")
    assert renewed.value.status == 200
    expect(who.page.locator("[data-order]")).to_have_count(1)


def test_a_session_outlives_a_reload_and_ends_when_revoked(shop: Shop, visit: Visit) -> None:
    email = shop.user()
    here, there = visit(), visit()
    log_in(here, email)
    log_in(there, email)
    here.page.reload()
    here.go("/#/account")
    rows = here.page.locator(".rows > li")
    expect(rows).to_have_count(2)
    expect(rows.filter(has_text="This one")).to_have_count(1)
    rows.get_by_role("button", name=re.compile("End the session")).click()
    expect(rows).to_have_count(1)
    there.expect_complaint("401")
    there.go("/#/orders")
    expect(there.page.get_by_role("heading", level=1)).to_have_text("Welcome back")
    here.page.get_by_role("button", name="Log out").click()
    expect(here.page.get_by_role("heading", level=1)).to_have_text("Welcome back")
    here.page.reload()
    expect(here.page.get_by_role("link", name="Log in")).to_be_visible()
    assert here.page.evaluate("sessionStorage.length") == 0


def test_tabs_share_a_login(shop: Shop, visit: Visit) -> None:
    """One that a link opens takes it from the others; each stays logged in, whichever of them renews it."""
    email = shop.user()
    order = shop.place(email)
    who = visit()
    log_in(who, email)
    twin = who.context.new_page()
    twin.goto(f"{who.url}/#/orders/{order}")
    status(twin, "New")
    for page in (who.page, twin, twin, who.page):
        page.reload()
        expect(page.get_by_role("link", name="Your orders", exact=True)).to_be_visible()
    stored = "sessionStorage.getItem('refresh-token')"
    until(lambda: who.page.evaluate(stored) == twin.evaluate(stored))
    stranger = visit()
    stranger.go("/#/orders")
    expect(stranger.page.get_by_role("heading", level=1)).to_have_text("Welcome back")


def test_a_tab_that_comes_back_takes_the_login_of_the_others(shop: Shop, visit: Visit) -> None:
    """One that was closed, or slept, has a refresh token that is used up: to show it would end them all."""
    who = visit()
    log_in(who, shop.user())
    earlier = who.page.evaluate("({...sessionStorage})")
    for _ in range(2):
        who.page.reload()
        expect(who.page.get_by_role("link", name="Your orders", exact=True)).to_be_visible()
    back = who.context.new_page()
    # The machine may be busy: the other tab has ten seconds for its answer.
    back.add_init_script(
        "const wait = setTimeout; window.setTimeout = (work, ms) => wait(work, ms < 1e3 ? 1e4 : ms)"
    )
    back.goto(who.url)
    expect(back.get_by_role("link", name="Your orders", exact=True)).to_be_visible()
    back.evaluate("(earlier) => Object.assign(sessionStorage, earlier)", earlier)
    for page in (back, who.page, back):
        page.reload()
        expect(page.get_by_role("link", name="Your orders", exact=True)).to_be_visible()


def test_tabs_of_two_logins_stay_two(shop: Shop, visit: Visit) -> None:
    emails = shop.user(), shop.user()
    who = visit()
    pages = who.page, who.context.new_page()
    for page in pages:
        page.goto(f"{who.url}/#/login")
    for page, email in zip(pages, emails, strict=True):
        page.locator("input[name=email]").fill(email)
        page.locator("input[name=password]").fill(PASSWORD)
        page.locator("form .primary").click()
        expect(page.locator("input[name=password]")).to_have_count(0)
    for page, email in zip(pages, emails, strict=True):
        page.reload()
        expect(page.locator(f"header [title='{email}']")).to_be_visible()


def test_reloads_while_a_refresh_is_under_way(shop: Shop, visit: Visit) -> None:
    """Its answers come to pages that are gone."""
    who = visit()
    log_in(who, shop.user())
    lost: list[int] = []

    def lose(route: Any) -> None:
        lost.append(route.fetch().status)
        route.abort()

    who.page.route("**/api/auth/refresh", lose, times=2)
    who.expect_complaint("ERR_FAILED")
    for _ in range(2):
        with who.page.expect_event("requestfailed", lambda request: request.url.endswith("/auth/refresh")):
            who.page.reload()
    who.page.reload()
    expect(who.page.get_by_role("link", name="Your orders")).to_be_visible()
    assert lost == [200, 200]


def test_two_tabs_that_do_not_hear_of_each_other(shop: Shop, visit: Visit) -> None:
    """With one refresh token, at once: as where a browser has neither locks nor channels between tabs."""
    here, there = visit(), visit()
    log_in(here, shop.user())
    token = here.page.evaluate("sessionStorage.getItem('refresh-token')")
    there.go("/")
    there.page.evaluate("(token) => sessionStorage.setItem('refresh-token', token)", token)
    for who in (here, there):
        who.page.evaluate("setTimeout(() => location.reload())")
    for who in (here, there):
        expect(who.page.get_by_role("link", name="Your orders")).to_be_visible()
        who.page.reload()
        expect(who.page.get_by_role("link", name="Your orders")).to_be_visible()


def test_a_new_password_by_mail(shop: Shop, visit: Visit) -> None:
    email = shop.user()
    who = visit()
    page = who.page
    who.go("/#/login")
    page.get_by_role("link", name="Forgot the password?").click()
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("button", name="Send me a link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Look into your mail")
    link = re.search(r"http://\S+/reset#token=\S+", text_of(shop.mail(email, "password")))
    assert link
    page.goto(link[0])
    expect(page.get_by_role("heading", level=1)).to_have_text("Set a new password")
    assert "token" not in page.url
    page.get_by_label("Password", exact=True).fill("abc")
    who.expect_complaint("400")
    page.get_by_role("button", name="Set the password").click()
    expect(page.locator(".field.wrong .hint")).to_have_text("must have at least 6 characters")
    page.get_by_label("Password", exact=True).fill("szybki-tramwaj9")
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Welcome back")
    log_in(who, email, "szybki-tramwaj9")
    page.goto(link[0])
    page.get_by_label("Password", exact=True).fill("inny-tramwaj10")
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_role("alert").filter(has_text="unknown, used or expired")).to_be_visible()


@pytest.mark.parametrize(
    ("locale", "wrong", "taken"),
    [
        ("en-GB", "Wrong e-mail or password.", "There is an account with this e-mail already."),
        ("pl-PL", "Błędny e-mail lub hasło.", "Konto z tym adresem już istnieje."),
    ],
)
def test_mistakes_are_told_in_both_languages(
    shop: Shop, visit: Visit, locale: str, wrong: str, taken: str
) -> None:
    email = shop.user()
    who = visit(locale=locale)
    page = who.page
    who.expect_complaint("40[019]")
    who.go("/#/login")
    page.locator("input[name=email]").fill(email)
    page.locator("input[name=password]").fill("nie-to-haslo1")
    page.locator("form .primary").click()
    expect(page.locator(".alert")).to_have_text(wrong)
    who.go("/#/register")
    page.locator("input[name=email]").fill(email)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("form .primary").click()
    expect(page.locator(".alert")).to_have_text(taken)
    page.locator("input[name=password]").fill("hasło")
    page.locator("form .primary").click()
    expect(page.locator("[aria-invalid]")).to_be_focused()
    hint = page.locator(".field.wrong .hint")
    expect(hint).to_have_text(
        "musi mieć co najmniej 6 znaków" if locale == "pl-PL" else "must have at least 6 characters"
    )


def test_the_language_is_a_switch_and_stays(shop: Shop, visit: Visit) -> None:
    who = visit()
    page = who.page
    who.go("/")
    page.get_by_role("combobox", name="Language").select_option("pl")
    expect(page.get_by_role("heading", level=1)).to_have_text("Rzeczy do domu, które zostają na długo")
    assert page.evaluate("document.documentElement.lang") == "pl"
    page.reload()
    expect(page.get_by_role("button", name="Dodaj do koszyka: Kubek kamionkowy")).to_be_visible()
    with page.expect_request("**/api/auth/login") as asked:
        log_in(who, shop.user())
    assert asked.value.headers["accept-language"] == "pl"


def test_another_customers_order_is_not_there(shop: Shop, visit: Visit) -> None:
    order = shop.place(shop.user())
    who = visit()
    log_in(who, shop.user())
    who.expect_complaint("404")
    who.go(f"/#/orders/{order}")
    expect(who.page.get_by_text("There is no such thing, or it is not yours to see.")).to_be_visible()


def test_markup_in_a_name_stays_text(shop: Shop, visit: Visit) -> None:
    email = shop.user()
    name = "<img src=x onerror=alert(1)>"
    order = shop.place(email, customer_name=name)
    who = visit()
    log_in(who, email)
    who.go(f"/#/orders/{order}")
    expect(who.page.get_by_text(name)).to_be_visible()


def reach(page: Page, target: Locator, key: str = "Tab") -> None:
    """Move the focus there, by this key alone."""
    target.wait_for()
    for _ in range(50):
        if target.evaluate("(each) => each === document.activeElement"):
            return
        page.keyboard.press(key)
    expect(target).to_be_focused()


def arrived(page: Page, title: str) -> None:
    """Who sees nothing hears it: the focus is on the heading."""
    expect(page.get_by_role("heading", level=1, name=title)).to_be_focused()


def test_with_keys_alone(shop: Shop, visit: Visit) -> None:
    """From the first page to an order, without a pointer, and without knowing where anything is."""
    who = visit()
    page = who.page
    keys = page.keyboard
    who.go("/")
    page.get_by_role("heading", level=1).wait_for()
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    keys.press("Enter")
    expect(page.locator("main")).to_be_focused()
    keys.press("Tab")
    button = page.get_by_role("button", name="Add to the basket: Stoneware mug")
    expect(button).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    keys.press("Enter")
    reach(page, page.get_by_role("link", name="Basket, 1 thing"), "Shift+Tab")
    keys.press("Enter")
    arrived(page, "Basket")
    reach(page, page.get_by_role("button", name="One more: Stoneware mug"))
    keys.press("Space")
    expect(page.get_by_role("link", name="Basket, 2 things")).to_be_visible()

    reach(page, page.get_by_role("link", name="Create an account"))
    keys.press("Enter")
    arrived(page, "Create an account")
    email = "klawisz@example.com"
    reach(page, page.get_by_label("E-mail"))
    keys.type(email)
    reach(page, page.get_by_label("Password", exact=True))
    keys.type(PASSWORD)
    keys.press("Enter")

    arrived(page, "Basket")
    reach(page, page.get_by_label("Your name"))
    keys.type("Ola Nowak")
    reach(page, page.get_by_role("button", name="Place the order"))
    keys.press("Enter")
    page.wait_for_url(re.compile(r"#/orders/\d+$"))
    status(page, "New")
    arrived(page, "Order")
    (placed,) = shop.call("GET", "/api/orders", email).json()
    assert (placed["customer_name"], placed["total_amount"]) == ("Ola Nowak", 98)
    reach(page, page.get_by_role("button", name="Cancel the order"))


PLACES = [
    "/",
    "/#/basket",
    "/#/login",
    "/#/register",
    "/#/forgot",
    "/#/orders",
    "/#/orders/ORDER",
    "/#/account",
    "/#/gone",
]


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_fits_a_phone_and_is_accessible(shop: Shop, visit: Visit, look: dict[str, Any]) -> None:
    email = shop.user()
    order = shop.place(email)
    shop.change(order, "confirmed")
    who = visit(**look)
    who.go("/")
    who.page.locator(".product button").first.click()
    log_in(who, email)
    for place in PLACES:
        who.go(place.replace("ORDER", str(order)))
        expect(who.page.locator("main:not([aria-busy]) h1")).to_be_visible()
        who.check_fits()
        who.check_accessible()
