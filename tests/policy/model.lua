-- Put after policy.lua, whose windows and breakers it plays with: a case a line of the file, its outcome a line.
for line in io.lines(os.getenv("CASES")) do
  local words, said = {}, {}
  for word in line:gmatch("%S+") do
    words[#words + 1] = word
  end
  if words[1] == "window" then
    local window = Window.new({ requests = tonumber(words[2]), span = tonumber(words[3]) })
    for at = 4, #words do
      local admitted, remaining, wait = window:ask(tonumber(words[at]))
      said[#said + 1] = ("%s:%d:%d"):format(admitted, remaining, wait)
    end
  elseif words[1] == "memory" then
    local limit, span, step = tonumber(words[2]), tonumber(words[3]), tonumber(words[4])
    collectgarbage()
    local before = collectgarbage("count")
    local window, now = Window.new({ requests = limit, span = span }), 0
    for at = 5, #words do
      for _ = 1, tonumber(words[at]) do
        window:ask(now)
        now = now + step
      end
      now = now + span
      collectgarbage()
      said[#said + 1] = math.ceil(collectgarbage("count") - before)
    end
  elseif words[1] == "crowd" then
    local clients, requests = tonumber(words[2]), tonumber(words[3])
    local admitted, most = 0, 0
    for _, times in ipairs({ 1, requests - 1 }) do
      for client = 1, clients do
        for _ = 1, times do
          admitted = admitted + (window("default", "client " .. client, 1) and 1 or 0)
        end
        collectgarbage()
        most = math.max(most, collectgarbage("count"))
      end
    end
    said = { admitted, math.ceil(most), tostring(window("default", "client 1", 60002)) }
  else
    local breaker = Breaker.new()
    for at = 2, #words do
      local verb, when, epoch, failed = words[at]:match("^(%a+):(%d+):(%d+):(%a+)$")
      if verb == "ask" then
        said[#said + 1] = ("%s:%s"):format(breaker:ask(tonumber(when)) or "-", breaker.kept)
      else
        breaker:report(tonumber(epoch), failed == "true", tonumber(when))
        said[#said + 1] = ("%s:%s"):format(breaker.epoch, breaker.kept)
      end
    end
  end
  io.write(table.concat(said, " "), "\n")
end
