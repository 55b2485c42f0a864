-- What time brings, and what operators and views ask.

-- Nobody has looked at the leases for a while (the server was away, or its clock stepped): nobody can tell how old
-- they are, so each holder gets a whole one to say that it lives.
local function mind_the_gap(lease)
  local beat = tonumber(call('GET', P .. 'beat') or 0)
  call('SET', P .. 'beat', NOW)
  if math.abs(NOW - beat) < math.max(3, lease / 3) then return end  -- looks are a second apart
  for _, id in ipairs(call('ZRANGE', P .. 'lease', 0, -1)) do call('ZADD', P .. 'lease', NOW + lease, id) end
end

local function promote(most)
  local ids = call('ZRANGEBYSCORE', P .. 'due', '-inf', NOW, 'LIMIT', 0, most)
  for _, id in ipairs(ids) do
    local j = load(id)
    leave(j)
    call('HSET', job_key(id), 'st', QUEUED)
    enter(j, QUEUED)
  end
  return #ids
end

local function prune(most)
  local ids = call('ZRANGEBYSCORE', P .. 'exp', '-inf', NOW, 'LIMIT', 0, most)
  for _, id in ipairs(ids) do forget(id) end
  local names = call('ZRANGEBYSCORE', P .. 'sexp', '-inf', NOW, 'LIMIT', 0, most)
  for _, name in ipairs(names) do
    tell_gone(name, pack({reason = 'its time to live is over'}))
    forget_stream(name)
  end
  return math.max(#ids, #names)
end

local function expired(most)
  local found = {}
  for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'lease', '-inf', NOW, 'LIMIT', 0, most)) do
    local v = call('HMGET', job_key(id), 'w', 'ep')
    if v[1] then
      local oldest = call('ZRANGE', P .. 'w:' .. v[1], 0, 0)[1]
      found[#found + 1] = id
      found[#found + 1] = v[2]
      found[#found + 1] = oldest == id and 1 or 0
    else
      call('ZREM', P .. 'lease', id)
    end
  end
  return found
end

local function earliest()
  local first
  for _, name in ipairs({'due', 'cronnext', 'again', 'sexp', 'aged'}) do
    local got = call('ZRANGE', P .. name, 0, 0, 'WITHSCORES')
    if got[2] and (not first or tonumber(got[2]) < first) then first = tonumber(got[2]) end
  end
  return first
end

-- tick {lease, most, member, facts}: do what is due. Returns {seconds to the next thing or '', more, expired
-- [id, epoch, begun, …], overdue ids, crons [name, moment, cron, …], now, carriers that have tickets to send}.
function ops.tick(a)
  local most = a[2]
  if a[3] then call('HSET', P .. 'members', a[3], pack({NOW, a[4]})) end
  mind_the_gap(a[1])
  local done = math.max(promote(most), prune(most))
  for _, q in ipairs(call('ZRANGEBYSCORE', P .. 'again', '-inf', NOW)) do
    call('ZREM', P .. 'again', q)
    wake_queue(q)
  end
  age_streams(most)
  local over = expired(most)
  local late = call('ZRANGEBYSCORE', P .. 'deadline', '-inf', '(' .. fmt('%.6f', NOW), 'LIMIT', 0, most)
  local crons = {}
  for _, name in ipairs(call('ZRANGEBYSCORE', P .. 'cronnext', '-inf', NOW)) do
    crons[#crons + 1] = name
    crons[#crons + 1] = fmt('%.6f', tonumber(call('ZSCORE', P .. 'cronnext', name)))
    crons[#crons + 1] = call('HGET', P .. 'crons', name)
  end
  if call('EXISTS', P .. 'waiters') == 1 then
    -- A hint may have gone to one who died of it.
    for _, line in ipairs(call('SMEMBERS', P .. 'lines')) do woken[line] = call('ZCARD', P .. 'r:' .. line) end
  end
  local out = {}
  for _, name in ipairs({'rq', 'celery'}) do
    if call('ZCOUNT', P .. 'out:' .. name, '-inf', NOW) > 0 then out[#out + 1] = name end
  end
  local first = earliest()
  local more = (done >= most or #over >= 3 * most or #late >= most) and 1 or 0
  return {first and fmt('%.6f', first - NOW) or '', more, over, late, crons, fmt('%.6f', NOW), out}
end

-- members {age}: who has ticked within so many seconds: name, facts, …; older ones are forgotten after a day.
function ops.members(a)
  local all, found = call('HGETALL', P .. 'members'), {}
  for i = 1, #all, 2 do
    local seen = unpack_(all[i + 1])
    if NOW - seen[1] <= a[1] then
      found[#found + 1] = all[i]
      found[#found + 1] = seen[2]
      found[#found + 1] = fmt('%.3f', NOW - seen[1])
    elseif NOW - seen[1] > 600 then
      call('HDEL', P .. 'members', all[i])
    end
  end
  return found
end

-- part {member}: the client ends and is no longer listed.
function ops.part(a) return call('HDEL', P .. 'members', a[1]) end

function ops.get(a)
  local v = call('HMGET', job_key(a[1]), unpack(SHOWN))
  return v[1] and v or false
end

-- find {states or false, queue, tag, function, before, most, page}: newest first. Returns {next, records}; `next` is
-- the number to go on before, 0 when there is no more.
function ops.find(a)
  local wanted
  if a[1] then
    wanted = {}
    for _, st in ipairs(a[1]) do wanted[st] = true end
  end
  local key = a[3] and P .. 't:' .. a[3] or P .. 'all'
  if not a[3] and a[1] and #a[1] == 1 and a[1][1] >= FAILED then key = P .. 'is:' .. a[1][1] end
  local ids = call('ZREVRANGEBYSCORE', key, a[5] and '(' .. a[5] or '+inf', '-inf', 'LIMIT', 0, a[7])
  local found, last, size = {}, 0, 0
  for _, id in ipairs(ids) do
    local v = call('HMGET', job_key(id), 'st', 'q', 'f', 'seq')
    if v[1] then
      last = tonumber(v[4])
      if (not wanted or wanted[tonumber(v[1])]) and (not a[2] or v[2] == a[2]) and (not a[4] or v[3] == a[4]) then
        local fields = call('HMGET', job_key(id), unpack(LISTED))
        size = size + #fields[1] + #(fields[11] or '') + #(fields[14] or '')
        found[#found + 1] = fields
        if #found >= a[6] or size > LIST_BYTES then return {last, found} end
      end
    end
  end
  return {#ids < a[7] and 0 or last, found}
end

function ops.now() return fmt('%.6f', NOW) end

function ops.stats() return call('HGETALL', P .. 'counts') end

-- purge {state, queue or false, older, most, page, at}: looks at a page of ended jobs, those before `at` having been kept.
-- Returns {how many went, where to go on, or -1 at the end}.
function ops.purge(a)
  local gone, at, last = 0, a[6], a[6] + a[5]
  local edge = NOW - a[3]
  local ended = a[1] == SUCCEEDED and P .. 'exp' or P .. 'is:' .. a[1]
  while gone < a[4] and at < last do
    local ids = call('ZRANGE', ended, at, at + 199)
    if #ids == 0 then return {gone, -1} end
    for _, id in ipairs(ids) do
      local v = call('HMGET', job_key(id), 'st', 'q', 'fin')
      if tonumber(v[1]) == a[1] and (not a[2] or v[2] == a[2]) and tonumber(v[3]) <= edge and gone < a[4] then
        forget(id)
        gone = gone + 1
      else
        at = at + 1
      end
    end
  end
  return {gone, at}
end

-- set_rules {queue, old or '', new}: 0 if somebody else has changed them meanwhile.
function ops.set_rules(a)
  if (call('HGET', P .. 'rules', a[1]) or '') ~= a[2] then return 0 end
  call('HSET', P .. 'rules', a[1], a[3])
  wake_queue(a[1])
  return 1
end

function ops.rules() return call('HGETALL', P .. 'rules') end

local FAR = 86400  -- seconds that the clock must have been ahead for a next moment to be given up; as in drivers/local/crons.py

-- set_crons {owner, name, cron, fresh moment, timing, …}: these are all of the owner's. One whose timing is as before
-- keeps its next moment.
function ops.set_crons(a)
  local keep = {}
  for i = 2, #a, 4 do keep[a[i]] = true end
  local owners = call('HGETALL', P .. 'cronowner')
  for i = 1, #owners, 2 do
    if owners[i + 1] == a[1] and not keep[owners[i]] then
      for _, name in ipairs({'crons', 'cronowner', 'crontime'}) do call('HDEL', P .. name, owners[i]) end
      call('ZREM', P .. 'cronnext', owners[i])
    end
  end
  for i = 2, #a, 4 do
    local name = a[i]
    local same = call('HGET', P .. 'crontime', name) == a[i + 3]
    call('HSET', P .. 'crons', name, a[i + 1])
    call('HSET', P .. 'cronowner', name, a[1])
    call('HSET', P .. 'crontime', name, a[i + 3])
    local next_ = tonumber(call('ZSCORE', P .. 'cronnext', name) or 0)
    if not same or next_ > a[i + 2] + FAR then call('ZADD', P .. 'cronnext', a[i + 2], name) end
  end
  return 1
end

function ops.crons()
  local found = {}
  local next_ = call('ZRANGE', P .. 'cronnext', 0, -1, 'WITHSCORES')
  for i = 1, #next_, 2 do
    found[#found + 1] = {call('HGET', P .. 'cronowner', next_[i]), call('HGET', P .. 'crons', next_[i]), next_[i + 1]}
  end
  return found
end

-- move_cron {name, from, to or false, specs, depth}: the next moment moves on and the jobs for those before are put, in
-- one. Returns 0 if another client was first, else what `put` returns.
function ops.move_cron(a)
  local at = call('ZSCORE', P .. 'cronnext', a[1])
  if not at or fmt('%.6f', tonumber(at)) ~= a[2] then return 0 end
  if not a[3] then
    for _, name in ipairs({'crons', 'cronowner', 'crontime'}) do call('HDEL', P .. name, a[1]) end
    call('ZREM', P .. 'cronnext', a[1])
    return 1
  end
  call('ZADD', P .. 'cronnext', a[3], a[1])
  if #a[4] == 0 then return 1 end
  return ops.put({a[4], a[5]})
end

function ops.publish(a)
  call(PUBLISH, P .. '>c:' .. a[1], a[2])
  return 1
end

