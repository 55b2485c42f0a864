-- What all operations share: names of keys, the time, events, who is to be woken.
-- `P` is the prefix of all keys. It holds a hash tag, so that everything of one Headgate lies in one slot.

local SCHEDULED, QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = 0, 1, 2, 3, 4, 5
local SEP = '\0'
local P, NOW, PUBLISH
local woken   -- lines (queue .. SEP .. function) in which something became claimable, with how many
local ended   -- jobs {id, state} that have ended here and whose followers-up are still to be told

local call, pack, unpack_, fmt  -- set at each call: a library has none of these while it is loaded

-- fields of a job that decisions in scripts need, in the order of `load`
local NEEDED = {'st', 'seq', 'q', 'f', 'pr', 'key', 'lim', 'tries', 'fails', 'losses', 'ep', 'w', 'last', 'dl', 'ttl', 'cr', 'by'}
-- fields of a job as clients read it
local SHOWN = {'spec', 'st', 'tries', 'fails', 'losses', 'ep', 'w', 'at', 'sta', 'fin', 'prog', 'chk', 'res', 'err',
               'cr', 'cpu', 'rss', 'seq', 'args'}
-- the same in lists, without what may be large
local LISTED = {'spec', 'st', 'tries', 'fails', 'losses', 'ep', 'w', 'at', 'sta', 'fin', 'prog', '-', '-', 'err',
                'cr', 'cpu', 'rss', 'seq', '-'}
local CLAIM_BYTES, LIST_BYTES = 4194304, 4194304  -- of one reply

-- Counts and what is known of queues are gathered during an operation, and written once at its end.
local counts, ruled, thinned

local function begin(prefix, now, publish)
  call, pack, unpack_, fmt = redis.call, cmsgpack.pack, cmsgpack.unpack, string.format
  P, PUBLISH, woken, ended = prefix, publish, {}, {}
  counts, ruled, thinned = {}, {}, {}
  if now == '' then
    local t = call('TIME')
    NOW = tonumber(t[1]) + tonumber(t[2]) / 1000000
  else
    NOW = tonumber(now)
  end
end

local function job_key(id) return P .. 'j:' .. id end
local function line_key(q, f) return P .. 'r:' .. q .. SEP .. f end
-- Members sort by acceptance, because their scores are priorities.
local function member(j) return fmt('%016x', j.seq) .. j.id end

local function load(id)
  local v = call('HMGET', job_key(id), unpack(NEEDED))
  if not v[1] then return nil end
  local j = {id = id, q = v[3], f = v[4], key = v[6], w = v[12]}
  j.st, j.seq, j.pr, j.lim = tonumber(v[1]), tonumber(v[2]), tonumber(v[5]), tonumber(v[7] or 1)
  j.tries, j.fails, j.losses = tonumber(v[8]), tonumber(v[9]), tonumber(v[10])
  j.ep, j.last, j.ttl, j.cr = tonumber(v[11]), tonumber(v[13]), tonumber(v[15]), tonumber(v[16] or 0)
  j.dl = v[14] and tonumber(v[14]) or nil
  j.by = v[17]
  return j
end

local function count(q, st, by)
  local field = q .. SEP .. st
  counts[field] = (counts[field] or 0) + by
end

local function counted(q, st)
  local field = q .. SEP .. st
  return tonumber(call('HGET', P .. 'counts', field) or 0) + (counts[field] or 0)
end

-- The rules of a queue, false if it has none.
local function rules_of(q)
  if ruled[q] == nil then
    local raw = call('HGET', P .. 'rules', q)
    ruled[q] = raw and unpack_(raw)
  end
  return ruled[q]
end

local function finish()
  for field, by in pairs(counts) do
    if by ~= 0 then call('HINCRBY', P .. 'counts', field, by) end
  end
  for line in pairs(thinned) do
    if call('EXISTS', P .. 'r:' .. line) == 0 then call('SREM', P .. 'lines', line) end
  end
end

local function wake(q, f, n)
  local line = q .. SEP .. f
  woken[line] = (woken[line] or 0) + n
end

local function wake_queue(q)
  for _, line in ipairs(call('SMEMBERS', P .. 'lines')) do
    if string.sub(line, 1, #q + 1) == q .. SEP then woken[line] = (woken[line] or 0) + call('ZCARD', P .. 'r:' .. line) end
  end
end

-- Events travel as msgpack arrays [offset, kind, data, at, terminal]; `data` is msgpack already.
local function header(n)
  if n < 16 then return string.char(0x90 + n) end
  return string.char(0xdc, math.floor(n / 256), n % 256)
end

-- Append events {kind, data, terminal} to the stream `key` whose last offset is `last`; tell whoever follows `name`.
local function write(key, name, last, events)
  local told = {header(#events)}
  for _, e in ipairs(events) do
    last = last + 1
    if e[3] then
      call('XADD', key, last .. '-0', 'k', e[1], 'd', e[2], 'a', NOW, 't', 1)
    else
      call('XADD', key, last .. '-0', 'k', e[1], 'd', e[2], 'a', NOW)
    end
    told[#told + 1] = '\149' .. pack(last) .. pack(e[1]) .. e[2] .. pack(NOW) .. (e[3] and '\195' or '\194')
  end
  if #events > 0 then call(PUBLISH, P .. '>e:' .. name, table.concat(told)) end
  return last
end

-- Keep a stream within its bounds (0: none). The work is not done at each append: events may be a tenth
-- over, bytes by what 64 events hold.
-- `meta` is the hash that has its `size` in bytes and, in `cut`, why its beginning is gone.
local function keep_within(key, meta, last, added, bytes, most, most_bytes)
  local step = math.max(1, math.floor(most / 10))
  local size = call('HINCRBY', meta, 'size', bytes)
  if most > 0 and last > most and math.floor(last / step) > math.floor((last - added) / step) then
    local edge = last - last % step - most + 1
    for _, e in ipairs(call('XRANGE', key, '-', (edge - 1) .. '-0')) do size = size - #e[2][4] end
    call('XTRIM', key, 'MINID', edge .. '-0')
    call('HSET', meta, 'size', size, 'cut', 'the stream keeps ' .. most .. ' events')
  end
  local looks = math.floor(last / 64) > math.floor((last - added) / 64) or bytes > most_bytes / 64
  while looks and most_bytes > 0 and size > most_bytes do
    local first = call('XRANGE', key, '-', '+', 'COUNT', 2)
    if #first < 2 then return end  -- the newest stays, whatever its size
    call('XDEL', key, first[1][1])
    size = size - #first[1][2][4]
    call('HSET', meta, 'size', size, 'cut', 'the stream keeps ' .. most_bytes .. ' bytes')
  end
end

local function fits(waiter, line)
  local cut = string.find(line, SEP, 1, true)
  local q, f = string.sub(line, 1, cut - 1), string.sub(line, cut + 1)
  local mine = false
  for _, name in ipairs(waiter[1]) do
    if name == '*' or name == q then mine = true end
  end
  if not mine then return false end
  if not waiter[2] then return true end
  for _, name in ipairs(waiter[2]) do
    if name == f then return true end
  end
  return false
end

-- Which waiting takes are to be woken, the longest waiting first; returns how many jobs there are for them, too.
local function choose()
  local total, chosen = 0, {}
  for _, n in pairs(woken) do total = total + n end
  local left = total
  for _, id in ipairs(call('ZRANGE', P .. 'waiters', 0, -1)) do
    if left <= 0 then break end
    local raw = call('HGET', P .. 'waiter', id)
    local waiter = raw and unpack_(raw)
    for line, n in pairs(woken) do
      if waiter and n > 0 and fits(waiter, line) then
        chosen[#chosen + 1] = {id, waiter[3], line}
        woken[line], left = n - 1, left - 1
        break
      end
    end
  end
  return chosen, total
end

-- Tell waiting takes that there is something for them, and how much of it is their share.
local function tell_waiters()
  while next(woken) and call('EXISTS', P .. 'waiters') == 1 do
    local chosen, total = choose()
    local missed = false
    for _, one in ipairs(chosen) do
      call('ZREM', P .. 'waiters', one[1])
      call('HDEL', P .. 'waiter', one[1])
      if call(PUBLISH, P .. '>w:' .. one[2], one[1] .. ' ' .. math.ceil(total / #chosen)) == 0 then
        woken[one[3]] = woken[one[3]] + 1
        missed = true
      end
    end
    if not missed then return end
  end
end
