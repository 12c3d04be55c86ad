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
