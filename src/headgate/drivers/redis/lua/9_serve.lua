-- Every call: the prefix as key; the operation, the time or '', how to publish, and the arguments in msgpack.
local function serve(keys, args)
  begin(keys[1], args[2], args[3])
  local reply = ops[args[1]](unpack_(args[4]))
  tell_the_next()
  finish()
  tell_waiters()
  return reply
end
