-- What haproxy.cfg cannot say: windows that slide, breakers, and what a token's claims mean.
-- Desk. Rendered by hostwright from desk.yml: change that, not this.
-- One state, one call of it at a time: nothing here yields between a look and what follows from it.

-- In the order they are tried: where a request to such a path, by one of these methods if some are named, goes.
local ROUTES = {
  { path = "^/v1/orders/[^/]+/status%f[/\0]", service = "orders", methods = { PUT = true }, allow = "PUT", limit = "default", required = true },
  { path = "^/v1/users/register%f[/\0]", service = "auth", methods = { POST = true }, allow = "POST", limit = "entry" },
  { path = "^/v1/users/login%f[/\0]", service = "auth", methods = { POST = true }, allow = "POST", limit = "entry" },
  { path = "^/v1/users/profile%f[/\0]", service = "auth", methods = { GET = true, PUT = true, HEAD = true }, allow = "GET, PUT, HEAD", limit = "default", required = true },
  { path = "^/v1/users/[^/]+%f[/\0]", service = "auth", methods = { GET = true, DELETE = true, HEAD = true }, allow = "GET, DELETE, HEAD", limit = "default", required = true, roles = { ["admin"] = true } },
  { path = "^/v1/orders/[^/]+%f[/\0]", service = "orders", methods = { GET = true, PUT = true, HEAD = true }, allow = "GET, PUT, HEAD, DELETE", limit = "default", required = true },
  { path = "^/v1/orders/[^/]+%f[/\0]", service = "orders", methods = { DELETE = true }, allow = "GET, PUT, HEAD, DELETE", limit = "default", required = true, roles = { ["admin"] = true } },
  { path = "^/v1/[^/]+/status%f[/\0]", service = "orders", methods = { PUT = true }, allow = "PUT", limit = "default", required = true },
  { path = "^/v1/users%f[/\0]", service = "auth", methods = { GET = true, HEAD = true }, allow = "GET, HEAD", limit = "default", required = true, roles = { ["admin"] = true } },
  { path = "^/v1/orders%f[/\0]", service = "orders", methods = { POST = true }, allow = "POST, GET, HEAD", limit = "creation", required = true },
  { path = "^/v1/orders%f[/\0]", service = "orders", methods = { GET = true, HEAD = true }, allow = "POST, GET, HEAD", limit = "default", required = true, keep = "60" },
  { path = "^/health$", service = "gateway" },
  { path = "^/metrics$", service = "gateway", required = true },
  { path = "^/open%f[/\0]", service = "orders", limit = "default" },
}
-- A listener that is one service's own sends everything there; what has a route to it keeps to the route.
local OWN = { ["orders"] = { service = "orders" }, ["gateway"] = { service = "gateway" } }
local LIMITS = {
  ["default"] = { requests = 200, span = 60000 },
  ["entry"] = { requests = 10, span = 60000 },
  ["creation"] = { requests = 20, span = 60000 },
}
local SERVICES = { "auth", "orders" }
local BREAKER = { requests = 5, percent = 50, open = 10000, successes = 2 }
local TRIAL = 35000 -- ms after which a trial that nobody reported on is over: its client left
local PERIOD, SLOTS = 30000, 10 -- ms that a breaker looks back, in so many parts
local MOST = 20000 -- clients and tokens that are known apart; the clients beyond share one window
local ROOM = 65536 * 0.9 -- KiB that may be taken before nobody gets more
local OTHERS = "others" -- who share a window: what theirs can grow to is not to be had by anybody else
for _, limit in pairs(LIMITS) do
  ROOM = ROOM - limit.requests / 10 -- some 100 bytes a request, see `Window:ask`
end

collectgarbage("setpause", 120) -- percent of what is in use at which to look for what is not

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

-- --- Windows ---

-- Two generations: what nobody touched for the length of one goes with the older, and no sweep walks over all.
local function generations()
  return { young = {}, old = {}, count = 0 }
end

local function recall(kept, key)
  local found = kept.young[key]
  if found == nil then
    found = kept.old[key]
    if found ~= nil and kept.count < MOST then
      kept.young[key], kept.old[key], kept.count = found, nil, kept.count + 1
    end
  end
  return found
end

local function remember(kept, key, value)
  kept.young[key], kept.count = value, kept.count + 1
end

local function turn(kept)
  kept.old, kept.young, kept.count = kept.young, {}, 0
end

-- Whether there is no room for one more that is known apart.
local function full(kept)
  return kept.count >= MOST or collectgarbage("count") > ROOM * 0.9
end

-- The times (ms) of requests that were let in, in their order: from `first` to `last` they may count still.
local Window = {}
Window.__index = Window

function Window.new(limit)
  return setmetatable({ limit = limit, times = {}, first = 1, last = 0 }, Window)
end

-- Whether a request at `now` is let in, how many more would be, and the ms until one more is than now. Or nil, where
-- that would take more memory and there is none: unless it is to be taken `anyway`.
function Window:ask(now, anyway)
  local times, first, last, size = self.times, self.first, self.last, self.limit.requests
  local since = now - self.limit.span
  -- By halves, as a long loop would be interrupted.
  local left = last + 1
  while first < left do
    local middle = (first + left) // 2
    if times[middle] <= since then
      first = middle + 1
    else
      left = middle
    end
  end
  local count = last - first + 1
  local admitted = count < size
  if admitted then
    -- What does not count goes where it is more than what does; a long table goes as a whole, as none gets shorter.
    -- So there are at most two for each that counts, in a table of twice that, and a copy for a moment.
    if first > count + 8 then
      times = table.move(times, first, last, 1, first > 32 and {} or times)
      self.times, first, last = times, 1, count
    end
    -- At a power of two a table becomes twice as long, at 16 bytes for each.
    if last & last - 1 == 0 and not anyway and collectgarbage("count") + last / 64 > ROOM then
      self.first, self.last = first, last
      return nil
    end
    count, last = count + 1, last + 1
    times[last] = now
  end
  self.first, self.last = first, last
  return admitted, size - count, times[first] - since
end

local windows = {}
for name, limit in pairs(LIMITS) do
  windows[name] = { limit = limit, clients = generations(), turned = 0 }
end

local function window(name, client, now)
  local of = windows[name]
  if now - of.turned > of.limit.span then
    turn(of.clients)
    of.turned = now
  end
  local found = recall(of.clients, client)
  if found == nil and client ~= OTHERS and full(of.clients) then
    return window(name, OTHERS, now)
  elseif found == nil then
    found = Window.new(of.limit)
    remember(of.clients, client, found)
  end
  local admitted, remaining, wait = found:ask(now, client == OTHERS)
  if admitted == nil then
    return window(name, OTHERS, now)
  end
  return admitted, remaining, wait
end

-- --- Breakers ---

-- closed -> open when BREAKER says so; open -> half_open after a while, where one at a time may try; from there
-- closed after some successes, open again after one failure. A change begins an epoch: reports of before it go by.
local Breaker = {}
Breaker.__index = Breaker

function Breaker.new()
  local found = setmetatable({ epoch = 0 }, Breaker)
  found:become("closed", 0)
  return found
end

function Breaker:become(state, now)
  self.kept, self.since, self.epoch = state, now, self.epoch + 1
  self.requests, self.failures, self.successes, self.trial = {}, {}, 0, nil
end

function Breaker:state(now)
  if self.kept == "open" and now - self.since >= BREAKER.open then
    self:become("half_open", now)
  end
  return self.kept
end

-- The epoch in which a request may go on, or nil and the ms after which it is worth another try.
function Breaker:ask(now)
  local state = self:state(now)
  if state == "open" then
    return nil, self.since + BREAKER.open - now
  elseif state == "half_open" then
    if self.trial and now - self.trial < TRIAL then
      return nil, 1000
    end
    self.trial = now
  end
  return self.epoch
end

function Breaker:counts(now)
  local requests, failures, oldest = 0, 0, now // (PERIOD // SLOTS) - SLOTS
  for slot, number in pairs(self.requests) do
    if slot > oldest then
      requests, failures = requests + number, failures + (self.failures[slot] or 0)
    else
      self.requests[slot], self.failures[slot] = nil, nil
    end
  end
  return requests, failures
end

function Breaker:report(epoch, failed, now)
  if epoch ~= self.epoch then
    return
  end
  local slot = now // (PERIOD // SLOTS)
  if self.requests[slot] == nil then
    self:counts(now)
  end
  self.requests[slot] = (self.requests[slot] or 0) + 1
  if failed then
    self.failures[slot] = (self.failures[slot] or 0) + 1
  end
  if self.kept == "half_open" then
    self.trial = nil
    self.successes = self.successes + 1
    if failed then
      self:become("open", now)
    elseif self.successes >= BREAKER.successes then
      self:become("closed", now)
    end
  elseif failed then
    local requests, failures = self:counts(now)
    if requests >= BREAKER.requests and failures * 100 >= requests * BREAKER.percent then
      self:become("open", now)
    end
  end
end

local breakers = {}
for _, name in ipairs(SERVICES) do
  breakers[name] = Breaker.new()
end

-- --- Time ---

-- The wall's clock in ms, which knows of time that this process did not get; HAProxy's own leaves that out. It may be
-- set back: it stands still here then.
local shift, latest = 0, 0
local function moment(now)
  now = now + shift
  if now < latest then
    if latest - now > 1000 then
      shift = shift + latest - now
    end
    return latest
  end
  latest = now
  return now
end

-- --- Tokens ---

local ALGORITHM, AUDIENCE, TYPE = "HS256", "desk", "access"
local LEEWAY = 5 -- seconds that clocks of hosts may differ, for the time of issue: the end counts to the second
local known = generations() -- token -> what it says, where its signature is good

local SECRET = read("/run/secrets/jwt_secret"):gsub("%s+$", "")
assert(#SECRET >= 32, "/run/secrets/jwt_secret: at least 32 characters, as a shorter secret can be guessed")
core.register_fetches("secret", function()
  return SECRET
end)

-- Sessions that ended before their tokens: session -> until when (s) that matters.
local revoked = {}
local FEED = "http://127.0.0.1:10002/?since="
local feed = { cursor = "0", at = 0, answers = false }

-- A text: a line with the cursor to ask with the next time, then lines with a session and until when (s).
-- Whether it came. What ends just after an answer was made waits for its way, the rest, and the next one: 2 s.
local function follow()
  local answer = core.httpclient():get({ url = FEED .. feed.cursor, timeout = 700 })
  local lines = (answer.status == 200 and answer.body or ""):gmatch("[^\r\n]+")
  local cursor = (lines() or ""):match("^[%w._-]+$")
  if not cursor then
    return false
  end
  for line in lines do
    local session, ends = line:match("^(%S+) (%d+)$")
    if session then
      revoked[session] = tonumber(ends)
    end
  end
  feed.cursor, feed.at = cursor, os.time()
  return true
end

core.register_task(function()
  while true do
    local ran, came = pcall(follow)
    feed.answers = ran and came
    for session, ends in pairs(revoked) do
      if ends < os.time() then
        revoked[session] = nil
      end
    end
    core.msleep(feed.at == 0 and 50 or 500)
  end
end)

-- A claim as text that may stand in a header, or nil.
local function word(value)
  if math.type(value) == "integer" then
    return tostring(value)
  end
  return type(value) == "string" and #value > 0 and #value <= 512 and not value:find("[%c\128-\255]") and value or nil
end

-- What the token says, or nil when that is not what one of ours would. Its signature is checked elsewhere.
local function claims(txn, token)
  local head, body = token:match("^([%w_-]+)%.([%w_-]+)%.[%w_-]+$")
  if not head then
    return nil
  end
  head, body = txn.c:ub64dec(head), txn.c:ub64dec(body)
  local function of(part, name)
    -- Without the type, a number would come with six digits.
    return txn.c:json_query(part, "$." .. name, "int")
  end
  -- What is in a list, or the one that is none. HAProxy 2.6 gives no lists, later ones their text.
  local function all(name)
    local several = {}
    for at = 0, 63 do
      several[at + 1] = word(of(body, name .. "[" .. at .. "]"))
      if not several[at + 1] then
        break
      end
    end
    local one = not several[1] and word(of(body, name))
    return one and one:sub(1, 1) ~= "[" and { one } or several
  end
  if of(head, "alg") ~= ALGORITHM or head:find('"crit"', 1, true) or of(body, "typ") ~= TYPE then
    return nil
  end
  local found = { expires = of(body, "exp"), issued = of(body, "iat"), from = of(body, "nbf") or 0 }
  for _, name in ipairs({ "expires", "issued", "from" }) do
    if math.type(found[name]) ~= "integer" then
      return nil
    end
  end
  local meant = false
  for _, each in ipairs(all("aud")) do
    meant = meant or each == AUDIENCE
  end
  local user = word(of(body, "user_id"))
  if not meant or not user then
    return nil
  end
  found.client, found.roles = "user " .. user, {}
  for _, role in ipairs(all("roles")) do
    found.roles[role] = true
  end
  -- As fields: what is kept of answers goes by a name that may stand in a path.
  local owner = user:gsub(".", function(each)
    return ("%02x"):format(each:byte())
  end)
  found.fields = table.concat({
    owner,
    user,
    word(table.concat(all("user_id"), ",")) or "",
    word(table.concat(all("email"), ",")) or "",
    word(table.concat(all("roles"), ",")) or "",
  }, "\t")
  found.session = word(of(body, "sid"))
  if not found.session then
    return nil
  end
  return found
end

-- --- What a request may ---

-- The route, or one to nowhere that knows the methods for such a path.
local function routed(method, path)
  for _, route in ipairs(ROUTES) do
    if (not route.methods or route.methods[method]) and path:find(route.path) then
      return route
    end
  end
  for _, route in ipairs(ROUTES) do
    if path:find(route.path) then
      return { limit = "default", allow = route.allow }
    end
  end
  return { limit = "default" }
end

local UNLIMITED = "\t\t"

-- Whole seconds of so many ms, for who waits.
local function rounded(wait)
  return math.max(1, (wait + 999) // 1000)
end

-- A line of fields for haproxy.cfg, which says there what is in which: of somebody who is let in ...
local function admitted(backend, epoch, limits, more, websocket, who)
  return backend .. "\t" .. epoch .. "\t" .. limits .. "\t" .. more .. "\t" .. websocket .. "\t" .. (who and who.fields or "-")
end

-- ... or refused: `more` is to be told, and so is which service is away.
local function refused(status, limits, more, service, who)
  return admitted("gateway.refused", status, limits, more or "", service or "", who)
end

-- Who asks with this token, or nil; and true where that is open until `check` says what the token does: it was not
-- seen yet, and HAProxy must look at its signature.
local function identify(now, token, check)
  local found = recall(known, token)
  local open = found == nil and token ~= ""
  open = open or feed.at == 0 -- nobody knows yet which sessions ended
  if open and not check then
    return nil, true
  elseif found == nil then
    found = token ~= "" and check(token)
    if not found then
      return nil
    end
    if full(known) then
      turn(known)
    end
    remember(known, token, found)
  end
  local seconds = (now - shift) / 1000
  if found.expires <= seconds or found.issued > seconds + LEEWAY or found.from > seconds + LEEWAY then
    return nil
  end
  if revoked[found.session] then
    return nil
  end
  return found
end

-- What becomes of a request, as a line of fields; `asked` says of it what haproxy.cfg put there, a line each.
-- `check` is who looks at a token that was not seen yet; where nobody does, the answer is that it is unknown.
local function decide(now, asked, check)
  local client, own, method, path, at = asked:match("^%d+\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n()")
  local route = routed(method, path)
  own = OWN[own]
  if own and (own.service == "gateway" or route.service ~= own.service) then
    route = own
  end
  local who
  if route.required then
    local open
    who, open = identify(now, asked:sub(at), check)
    if open then
      return "unknown"
    end
    if feed.at == 0 then
      return refused(503, UNLIMITED, 1, "auth")
    end
  end
  local limits = UNLIMITED
  if route.limit then
    local admits, remaining, wait = window(route.limit, who and who.client or client, now)
    limits = LIMITS[route.limit].requests .. "\t" .. remaining .. "\t" .. (now - shift + wait + 999) // 1000
    if not admits then
      return refused(429, limits, rounded(wait), nil, who)
    end
  end
  if not route.service then
    return refused(route.allow and 405 or 404, limits, route.allow, nil, who)
  end
  if route.required then
    if not who then
      return refused(401, limits)
    end
    local fits = not route.roles
    for role in pairs(route.roles or {}) do
      fits = fits or who.roles[role]
    end
    if not fits then
      return refused(403, limits, nil, nil, who)
    end
  end
  local keep, epoch, wait = method == "GET" and route.keep or "", "", nil
  local breaker = breakers[route.service]
  if breaker then
    epoch, wait = breaker:ask(now)
    if not epoch and keep ~= "" then
      return admitted("gateway.stale", 503, limits, rounded(wait), route.service, who)
    elseif not epoch then
      return refused(503, limits, rounded(wait), route.service, who)
    end
  end
  return admitted(route.service, epoch, limits, keep, route.websocket and "websocket" or "", who)
end

core.register_converters("admit", function(asked)
  return decide(moment(tonumber(asked:match("^%d+"))), asked)
end)

-- For a token that was not seen yet, after HAProxy looked at its signature.
core.register_action("admit", { "http-req" }, function(txn)
  -- Which sessions ended must be known: at its start the gateway waits for that, and lets nobody in without.
  for _ = 1, 100 do
    if feed.at > 0 then
      break
    end
    core.msleep(20)
  end
  local now = moment(txn.f:date(0, "ms"))
  local line = decide(now, txn:get_var("txn.asked"), function(token)
    return txn:get_var("txn.signed") == 1 and claims(txn, token)
  end)
  txn:set_var("txn.admitted", line)
end)

-- --- What became of it ---

local started, counted = os.time(), {}

-- `said` is the time (ms), the status, and the line of fields, if there is one. Answers the level to log at.
core.register_converters("settle", function(said)
  local now, status, service, epoch = said:match("^(%d+) (%d+) ([^\t]*)\t?(%d*)")
  now, status = tonumber(now), tonumber(status)
  local breaker = breakers[service]
  local own = breaker or service == "gateway"
  local name, kind = own and service or "refused", own and status // 100 .. "xx" or tostring(status)
  local of = counted[name] or {}
  counted[name] = of
  of[kind] = (of[kind] or 0) + 1
  if breaker then
    breaker:report(tonumber(epoch), status >= 500, moment(now))
  end
  return status >= 500 and "error" or "info"
end)

-- Of tables, texts and numbers; members in the order of their names, so that the same reads the same.
local function json(value)
  if type(value) ~= "table" then
    return type(value) == "string" and '"' .. value:gsub('["\\%c]', "?") .. '"' or tostring(value)
  end
  local found = {}
  for name in pairs(value) do
    found[#found + 1] = name
  end
  table.sort(found)
  for at, name in ipairs(found) do
    found[at] = json(name) .. ":" .. json(value[name])
  end
  return "{" .. table.concat(found, ",") .. "}"
end

local function say(applet, kind, text)
  applet:set_status(200)
  applet:add_header("content-type", kind)
  applet:add_header("content-length", tostring(#text))
  applet:start_response()
  applet:send(text)
end

local function looked(applet)
  local now, found, away = moment(applet.f:date(0, "ms")), {}, false
  for name, breaker in pairs(breakers) do
    local state = breaker:state(now)
    local requests, failures = breaker:counts(now)
    found[name] = { state = state, requests = requests, failures = failures }
    away = away or state ~= "closed"
  end
  return found, away
end

local function success(applet, body)
  body = { success = true, data = body }
  say(applet, "application/json", json(body))
end

core.register_service("health", "http", function(applet)
  local found, away = looked(applet)
  local body = { status = away and "degraded" or "healthy", service = "gateway", circuit_breakers = found }
  body.sessions = { status = feed.answers and "healthy" or "degraded", read = feed.at }
  success(applet, body)
end)

core.register_service("metrics", "http", function(applet)
  success(applet, { uptime_seconds = os.time() - started, requests = counted, circuit_breakers = looked(applet) })
end)

core.register_service("prometheus", "http", function(applet)
  local lines = { "# TYPE gateway_requests_total counter" }
  for service, of in pairs(counted) do
    for kind, number in pairs(of) do
      lines[#lines + 1] = ('gateway_requests_total{service="%s",status="%s"} %d'):format(service, kind, number)
    end
  end
  lines[#lines + 1] = "# TYPE gateway_breaker gauge"
  for service, of in pairs(looked(applet)) do
    for _, state in ipairs({ "closed", "half_open", "open" }) do
      local is = state == of.state and 1 or 0
      lines[#lines + 1] = ('gateway_breaker{service="%s",state="%s"} %d'):format(service, state, is)
    end
  end
  say(applet, "text/plain; version=0.0.4", table.concat(lines, "\n") .. "\n")
end)

-- --- Instances that are set aside ---

-- Whoever rolls a service puts a file here by the name of an instance: it is asked after all others, and whoever
-- stands in for it is asked meanwhile.
local ASIDE = "/etc/hostwright/aside/"
local INSTANCES = {
  ["auth"] = { "auth" },
  ["orders"] = { "orders", "orders-2" },
}
local SPARES = {
  ["auth"] = "auth-spare",
}

core.register_task(function()
  local before = {}
  while true do
    for service, instances in pairs(INSTANCES) do
      local servers, some = core.backends[service].servers, false
      for _, name in ipairs(instances) do
        local file = io.open(ASIDE .. name)
        local aside = file ~= nil
        if file then
          file:close()
        end
        if aside ~= (before[name] or false) then
          before[name] = aside
          if aside then
            servers[name]:set_drain()
          else
            servers[name]:set_ready()
          end
        end
        some = some or aside
      end
      local spare = SPARES[service]
      if spare and some ~= (before[spare] or false) then
        before[spare] = some
        if some then
          servers[spare]:set_ready()
        else
          servers[spare]:set_maint()
        end
      end
    end
    core.msleep(200)
  end
end)
