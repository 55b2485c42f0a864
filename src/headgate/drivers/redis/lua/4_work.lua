-- The operations of producers and job workers. Each gets one table of arguments.
local ops = {}

local function spec_of(v)
  local s = {raw = v[1], id = v[2], queue = v[3], f = v[4], priority = v[5], limit = v[7], after = v[10], tags = v[12],
             result_ttl = v[13], even_if_failed = v[14] or nil, args = v[15],
             by = v[16] or nil}
  s.key, s.deadline, s.idempotency_key, s.not_before = v[6] or nil, v[8] or nil, v[9] or nil, v[11] or nil
  return s
end

-- put {specs, depth, write (so that replicas can be waited for)}: accept all or none. Returns for each {id, created}, or what it is refused for.
function ops.put(a)
  local receipts, fresh, keyed, older, is_fresh = {}, {}, {}, {}, {}
  for at, v in ipairs(a[1]) do
    local s = spec_of(v)
    receipts[at] = {s.id, 1}
    if not is_fresh[s.id] and call('EXISTS', job_key(s.id)) == 0 then
      local known = s.idempotency_key and (keyed[s.idempotency_key] or call('HGET', P .. 'idem', s.idempotency_key))
      if known then
        receipts[at] = {known, 0}
        older[#older + 1] = s.id
        older[s.id] = known
      else
        if s.idempotency_key then keyed[s.idempotency_key] = s.id end
        fresh[#fresh + 1] = s
        is_fresh[s.id] = true
      end
    end
  end
  local waiting, missing = {}, nil
  for _, s in ipairs(fresh) do
    waiting[s.queue] = (waiting[s.queue] or 0) + 1
    for _, needed in ipairs(s.after) do
      if older[needed] then
        -- The producer writes the older job's id into the spec, which is stored as it gave it.
        local renamed = {'!', 'renamed'}
        for _, id in ipairs(older) do renamed[#renamed + 1] = id; renamed[#renamed + 1] = older[id] end
        return renamed
      end
      if not is_fresh[needed] and call('EXISTS', job_key(needed)) == 0 then
        return {'!', 'needs', s.id, needed}
      end
    end
  end
  for q, more in pairs(waiting) do
    local rules = rules_of(q)
    local depth = rules and rules.depth or a[2]
    local there = counted(q, QUEUED) + counted(q, SCHEDULED)
    if there + more > depth then return {'!', 'full', q, there, depth, more} end
  end
  if #fresh == 0 then
    -- WAIT speaks of what its connection has written: this stands after the jobs that were put on another one.
    if a[3] then call('SET', P .. 'seen', fmt('%.6f', NOW)) end
    return receipts
  end
  local seq = call('INCRBY', P .. 'seq', #fresh) - #fresh
  for _, s in ipairs(fresh) do
    seq = seq + 1
    local later = s.not_before and s.not_before > NOW
    local needs = #s.after > 0
    local j = {id = s.id, seq = seq, q = s.queue, f = s.f, pr = s.priority, key = s.key,
               lim = s.limit, dl = s.deadline, ttl = s.result_ttl, by = s.by, st = -1}
    local told = {queue = j.q}
    if s.not_before then told.not_before = s.not_before end
    local set = {'spec', s.raw, 'args', s.args, 'st', (later or needs) and SCHEDULED or QUEUED, 'seq', seq, 'q', j.q, 'f', j.f,
                 'pr', j.pr, 'tries', 0, 'fails', 0, 'losses', 0, 'ep', 0, 'last', 1, 'ttl', j.ttl, 'at', NOW}
    local function put(field, value)
      if value then set[#set + 1] = field; set[#set + 1] = value end
    end
    put('key', s.key); put('lim', s.key and j.lim); put('dl', s.deadline); put('ik', s.idempotency_key)
    put('tags', #s.tags > 0 and pack(s.tags)); put('even', s.even_if_failed and 1); put('nb', s.not_before)
    put('by', s.by)
    call('HSET', job_key(s.id), unpack(set))
    write(P .. 'e:' .. s.id, 'jobs/' .. s.id, 0, {{'queued', pack(told)}})
    call('ZADD', P .. 'all', seq, s.id)
    if s.idempotency_key then call('HSET', P .. 'idem', s.idempotency_key, s.id) end
    for _, tag in ipairs(s.tags) do call('ZADD', P .. 't:' .. tag, seq, s.id) end
    enter(j, (later or needs) and SCHEDULED or QUEUED, later and not needs and s.not_before)
    if needs then
      for _, needed in ipairs(s.after) do call('SADD', P .. 'after:' .. s.id, needed) end
      call('HSET', job_key(s.id), 'total', call('SCARD', P .. 'after:' .. s.id))
      for _, needed in ipairs(s.after) do
        call('SADD', P .. 'needs:' .. needed, s.id)
        local st = tonumber(call('HGET', job_key(needed), 'st') or -1)
        if st > RUNNING then ended[#ended + 1] = {needed, st} end
      end
    end
  end
  return receipts
end

-- What a queue allows to be started now; notes when to look again if its rate keeps something back.
local function allowance(q, most)
  local rules = rules_of(q)
  if not rules then return most, 1 end
  local weight = rules.weight or 1
  if rules.paused then return 0, weight end
  if rules.slots then most = math.min(most, rules.slots - counted(q, RUNNING)) end
  if rules.rate and most > 0 then
    local v = call('HMGET', P .. 'rate:' .. q, 'tokens', 'at')
    local tokens, at = tonumber(v[1] or 1), tonumber(v[2] or NOW)
    tokens = math.min(math.max(1, rules.rate), tokens + math.max(0, NOW - at) * rules.rate)
    call('HSET', P .. 'rate:' .. q, 'tokens', tokens, 'at', NOW)
    most = math.min(most, math.floor(tokens + 1e-9))
    if most <= 0 then call('ZADD', P .. 'again', NOW + 1 / rules.rate, q) end
  end
  return math.max(0, most), weight
end

-- When it is each candidate's turn among queues that have weights (stride scheduling). A queue that had nothing
-- to do does not save up turns for later.
local function set_turns(rows, weights)
  local plain = true
  for _, w in pairs(weights) do if w ~= 1 then plain = false end end
  if plain then return end
  local least, at = nil, {}
  for q in pairs(weights) do
    local served = call('HGET', P .. 'served', q)
    at[q] = served and tonumber(served) or nil
    if at[q] and (not least or at[q] < least) then least = at[q] end
  end
  call('DEL', P .. 'served')
  for q in pairs(weights) do
    at[q] = math.max(least or 0, at[q] or least or 0)
    call('HSET', P .. 'served', q, at[q])
  end
  for _, row in ipairs(rows) do
    at[row.q] = at[row.q] + 1 / weights[row.q]
    row.turn = at[row.q]
  end
end

local function before(a, b)
  if a.score ~= b.score then return a.score < b.score end
  if a.turn ~= b.turn then return a.turn < b.turn end
  return a.member < b.member
end

local function by_age(a, b)
  if a.score ~= b.score then return a.score < b.score end
  return a.member < b.member
end

-- The best jobs that may be started, of the queues and functions of a waiter {queues, functions}.
local function candidates(waiter, most)
  local by_queue, weights, names = {}, {}, {}
  for _, line in ipairs(call('SMEMBERS', P .. 'lines')) do
    if fits(waiter, line) then
      local q = string.sub(line, 1, string.find(line, SEP, 1, true) - 1)
      if not by_queue[q] then
        by_queue[q] = {}
        names[#names + 1] = q
      end
      table.insert(by_queue[q], line)
    end
  end
  table.sort(names)
  local rows, asked = {}, {}
  for _, q in ipairs(names) do
    local allowed, weight = allowance(q, most)
    if allowed > 0 then
      local mine = {}
      for _, line in ipairs(by_queue[q]) do
        local got = call('ZRANGE', P .. 'r:' .. line, 0, allowed - 1, 'WITHSCORES')
        for i = 1, #got, 2 do
          mine[#mine + 1] = {member = got[i], score = tonumber(got[i + 1]), q = q, turn = 0}
        end
      end
      if #by_queue[q] > 1 then table.sort(mine, by_age) end
      for i = 1, math.min(allowed, #mine) do rows[#rows + 1] = mine[i] end
      weights[q] = weight
      asked[#asked + 1] = q
    end
  end
  if #asked > 1 then
    set_turns(rows, weights)
    table.sort(rows, before)
  end
  return rows
end

local function hold(j, worker, lease, number, weighed)
  leave(j)
  local data = pack({worker = worker, try = j.tries + 1})
  j.last = write(P .. 'e:' .. j.id, 'jobs/' .. j.id, j.last, {{'started', data}})
  call('HSET', job_key(j.id), 'st', RUNNING, 'tries', j.tries + 1, 'ep', j.ep + 1, 'rep', 0, 'w', worker, 'sta', NOW,
       'last', j.last)
  count(j.q, RUNNING, 1)
  call('ZADD', P .. 'lease', NOW + lease, j.id)
  call('ZADD', P .. 'w:' .. worker, number, j.id)
  if j.dl then call('ZREM', P .. 'deadline', j.id) end
  if j.key then
    call('SADD', (key_sets(j.key)), j.id)
  end
  local rules = rules_of(j.q)
  if weighed and call('HEXISTS', P .. 'served', j.q) == 1 then
    call('HINCRBYFLOAT', P .. 'served', j.q, 1 / (rules and rules.weight or 1))
  end
  if rules and rules.rate then call('HINCRBYFLOAT', P .. 'rate:' .. j.q, 'tokens', -1) end
end

-- claim {worker, queues, functions or false, most, lease, waiter, client}: jobs, or else wait to be woken.
function ops.claim(a)
  local worker, most = a[1], a[4]
  local claims, size = {}, 0
  while #claims < most and size < CLAIM_BYTES do
    local rows = candidates({a[2], a[3]}, most - #claims)
    local late = false
    local number = #rows > 0 and call('INCRBY', P .. 'claims', #rows) - #rows or 0
    local weighed = #rows > 0 and call('EXISTS', P .. 'served') == 1
    for i = 1, math.min(#rows, most - #claims) do
      local j = load(string.sub(rows[i].member, 17))
      if j.dl and j.dl < NOW then
        -- Upkeep will fail it; until then it is only not given out.
        hide(j)
        late = true
      elseif size < CLAIM_BYTES then
        number = number + 1
        hold(j, worker, a[5], number, weighed)
        local fields = call('HMGET', job_key(j.id), unpack(SHOWN))
        size = size + #fields[19] + #(fields[12] or '') + #(fields[11] or '')
        claims[#claims + 1] = fields
      end
    end
    if not late then break end
  end
  if #claims == 0 and a[6] then
    call('ZADD', P .. 'waiters', 'NX', call('INCR', P .. 'turns'), a[6])
    call('HSET', P .. 'waiter', a[6], pack({a[2], a[3], a[7]}))
  end
  return claims
end

-- A carried job whose queue allows nothing now: its ticket waits. When thousands wait they are looked at less often, so
-- that they do not hold up other queues.
local function postpone(by, id)
  local key = P .. 'out:' .. by
  call('ZADD', key, 'XX', NOW + 2 + call('ZCARD', key) / 500, id)
end

-- claim_one {id, worker, lease}: this job, for the process to which its ticket came; nothing if it is not to be run (now).
function ops.claim_one(a)
  local j = load(a[1])
  if not j or j.st ~= QUEUED or not j.by or (j.dl and j.dl < NOW) then return {} end
  if j.key then
    local _, _, kh = key_sets(j.key)
    if call('ZSCORE', kh, member(j)) then return {} end
  end
  if allowance(j.q, 1) == 0 then
    -- Its ticket is spent; another one is sent when the queue allows it.
    postpone(j.by, j.id)
    call('HDEL', job_key(j.id), 'sent')
    return {}
  end
  hold(j, a[2], a[3], call('INCR', P .. 'claims'), false)
  return call('HMGET', job_key(j.id), unpack(SHOWN))
end

local function send(key, id, q, hold_)
  local sent, number = call('HINCRBY', job_key(id), 'sent', 1), call('HINCRBY', job_key(id), 'ticket', 1)
  local v = call('HMGET', job_key(id), 'f', 'ep')
  call('ZADD', key, NOW + hold_ * 2 ^ math.min(sent - 1, 10), id)
  return {id, q, v[1], v[2], number}
end

-- outgoing {carrier, most, hold}: jobs whose tickets are to be sent: [id, queue, function, epoch, number of the ticket, …].
-- Until it is claimed its ticket may be lost, and is sent again after `hold` seconds, then after twice as long, and so on.
-- Of a queue no more than it allows to be started now, of which those that were sent and not claimed yet are no part.
function ops.outgoing(a)
  local found, key, allowed, looked = {}, P .. 'out:' .. a[1], {}, 0
  while #found < 5 * a[2] and looked < 1000 do
    local ids = call('ZRANGEBYSCORE', key, '-inf', NOW, 'LIMIT', 0, a[2] - #found / 5)
    if #ids == 0 then break end
    for _, id in ipairs(ids) do
      local q = call('HGET', job_key(id), 'q')
      if q then allowed[q] = allowed[q] or allowance(q, a[2]) end
      if not q then
        call('ZREM', key, id)
      elseif allowed[q] > 0 then
        allowed[q] = allowed[q] - 1
        for _, part in ipairs(send(key, id, q, a[3])) do found[#found + 1] = part end
      else
        postpone(a[1], id)
      end
    end
    looked = looked + #ids
  end
  return found
end

-- unsent {carrier, pause, ids}: their tickets were not sent. The first one was refused, and has to wait; the others are due
-- before it. One that was claimed all the same is left alone. The number of a ticket is not used again: it may have arrived.
function ops.unsent(a)
  local key = P .. 'out:' .. a[1]
  for i, id in ipairs(a[3]) do
    if call('ZSCORE', key, id) and tonumber(call('HGET', job_key(id), 'sent') or 0) > 0 then
      call('HINCRBY', job_key(id), 'sent', -1)
      call('ZADD', key, NOW + (i == 1 and a[2] or 0), id)
    end
  end
  return 1
end

-- unwait {waiter}: it waits no longer. If it had been woken already, somebody else must be.
function ops.unwait(a)
  call('HDEL', P .. 'waiter', a[1])
  if call('ZREM', P .. 'waiters', a[1]) == 0 then
    for _, line in ipairs(call('SMEMBERS', P .. 'lines')) do woken[line] = call('ZCARD', P .. 'r:' .. line) end
  end
  return 1
end

-- renew {held as [id, epoch, …], lease}: returns id, verdict, … of those that are to be ended.
function ops.renew(a)
  local verdicts = {}
  for i = 1, #a[1], 2 do
    local id, epoch = a[1][i], a[1][i + 1]
    local v = call('HMGET', job_key(id), 'st', 'ep', 'cr')
    local verdict
    if tonumber(v[1] or -1) ~= RUNNING or tonumber(v[2]) ~= epoch then
      verdict = 'lost'
    else
      call('ZADD', P .. 'lease', NOW + a[2], id)
      if v[3] == '1' then verdict = 'cancel' end
    end
    if verdict then verdicts[#verdicts + 1] = id; verdicts[#verdicts + 1] = verdict end
  end
  return verdicts
end

-- report {id, epoch, number, events [kind, data, …], progress or false, checkpoint or false, bounds}: 0 if refused.
function ops.report(a)
  local j = load(a[1])
  if not j or j.st ~= RUNNING or j.ep ~= a[2] then return 0 end
  local key = job_key(j.id)
  if a[3] <= tonumber(call('HGET', key, 'rep') or 0) then return 1 end
  local events, size = {}, 0
  for i = 1, #a[4], 2 do
    events[#events + 1] = {a[4][i], a[4][i + 1]}
    size = size + #a[4][i + 1]
  end
  local last = write(P .. 'e:' .. j.id, 'jobs/' .. j.id, j.last, events)
  call('HSET', key, 'last', last, 'rep', a[3])
  if a[5] then call('HSET', key, 'prog', a[5]) end
  if a[6] then call('HSET', key, 'chk', a[6]) end
  keep_within(P .. 'e:' .. j.id, key, last, #events, size, a[7], a[8])
  return 1
end

-- succeed {id, epoch, result, cpu or false, rss or false, …}: the way of nearly all jobs, decided by
-- lifecycle.settled without looking. Returns for each 1, or 0 where the fence refuses it.
function ops.succeed(a)
  local flags = {}
  for i = 1, #a, 5 do
    local j = load(a[i])
    if not j or j.ep ~= a[i + 1] then
      flags[#flags + 1] = 0
    else
      -- A loss raises the epoch, so under this one only a settlement can have ended the claim.
      if j.st == RUNNING then
        carry_out(j, {st = SUCCEEDED, events = {{'result', '\129\166result' .. a[i + 2], true}}, fails = j.fails,
                      losses = j.losses, result = a[i + 2], cpu = a[i + 3] or nil, rss = a[i + 4] or nil})
      end
      flags[#flags + 1] = 1
    end
  end
  return flags
end

-- standing {ids}: what a decision needs to know of each: {state, epoch, cancel_requested, failures, losses, worker, spec}.
function ops.standing(a)
  local found = {}
  for i, id in ipairs(a) do
    local v = call('HMGET', job_key(id), 'st', 'ep', 'cr', 'fails', 'losses', 'w', 'spec')
    found[i] = v[1] and v or false
  end
  return found
end

-- commit {{id, state, epoch, cancel_requested, step}, …}: carry out steps decided for jobs that stood so.
-- Returns for each its state, counted from 1, or 0 if the job has moved on meanwhile and the decision is void.
function ops.commit(a)
  local done = {}
  for i, one in ipairs(a) do
    local j = load(one[1])
    if j and j.st == one[2] and j.ep == one[3] and j.cr == one[4] then
      carry_out(j, one[5])
      done[i] = j.st + 1
    else
      done[i] = 0
    end
  end
  return done
end

-- ask_cancel {id, epoch, channel}: tell a running job to end; 0 if it runs no more.
function ops.ask_cancel(a)
  local j = load(a[1])
  if not j or j.st ~= RUNNING or j.ep ~= a[2] then return 0 end
  call('HSET', job_key(j.id), 'cr', 1)
  call(PUBLISH, P .. '>c:' .. a[3], j.id)
  return 1
end

-- holdings {worker}: the ids that it holds, the oldest claim first.
function ops.holdings(a) return call('ZRANGE', P .. 'w:' .. a[1], 0, -1) end
