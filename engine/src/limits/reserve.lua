-- One half of a limit, by the clock of this server: the same steps as core/src/limit/ takes, in numbers that a double holds whole.
-- Times are in milliseconds.
local now_parts = redis.call('TIME')
local now = now_parts[1] * 1000 + math.floor(now_parts[2] / 1000)
local key, half = KEYS[1], ARGV[1]
local n = {}
for place = 4, #ARGV do n[place - 3] = tonumber(ARGV[place]) end
local function text(number) return string.format('%.0f', number) end

if half == 'rate' then
    local asker = 'by:' .. ARGV[2]
    local capacity, token, milli, held, left_over, owed = n[1], n[2], n[3], n[4], n[5], n[6]
    local need, at_once, more, held_for, fill = n[7], n[8], n[9], n[10], n[11]
    local at, debt, outstanding, gone = now, 0, held, {}
    local fields = redis.call('HGETALL', key)
    for place = 1, #fields, 2 do
        local field, value = fields[place], fields[place + 1]
        if field == 'at' then
            at = tonumber(value)
        elseif field == 'debt' then
            debt = tonumber(value)
        else
            local units, ends = string.match(value, '^(%d+) (%d+)$')
            if tonumber(ends) <= now then
                gone[#gone + 1] = field
            elseif field ~= asker then
                outstanding = outstanding + tonumber(units)
            end
        end
    end
    local full, passed = capacity * token, math.max(0, now - at)
    debt = passed >= fill and 0 or math.max(0, debt - passed * milli)
    debt = math.max(0, debt - left_over * token)
    debt = math.min(full, debt + owed * token)
    local there, granted = math.floor((full - debt) / token), 0
    if there >= need then
        local room = math.max(0, math.floor(capacity / 20) - outstanding)
        local spent = math.min(math.max(at_once, need), there)
        granted = spent + math.min(more, there - spent, room)
    end
    debt = debt + granted * token
    local holds = held + math.max(0, granted - at_once)
    if #gone > 0 then redis.call('HDEL', key, unpack(gone)) end
    redis.call('HSET', key, 'at', text(math.max(now, at)), 'debt', text(debt))
    if holds > 0 then
        redis.call('HSET', key, asker, text(holds) .. ' ' .. text(now + held_for))
    else
        redis.call('HDEL', key, asker)
    end
    redis.call('PEXPIRE', key, text(fill + held_for + 60000))
    return { debt, granted }
end

local slides = ARGV[3] == 'sliding'
local total, begins, ends, next_ends, need, most = n[1], n[2], n[3], n[4], n[5], n[6]
local left_start, left_units, owed_start, owed_units = n[7], n[8], n[9], n[10]
if now >= ends then begins, ends = ends, next_ends end
local length = ends - begins
local stored = redis.call('HMGET', key, 'start', 'used', 'before')
local start, used, before = tonumber(stored[1] or 0), tonumber(stored[2] or 0), tonumber(stored[3] or 0)
if start < begins then
    before = slides and start + length == begins and used or 0
    start, used = begins, 0
end
local function add(to, units)
    if to == start then
        used = math.max(0, used + units)
    elseif slides and to == start - length then
        before = math.max(0, before + units)
    end
end
add(left_start, -left_units)
add(owed_start, owed_units)
local elapsed = math.min(math.max(now - start, 0), length)
local carried = slides and math.ceil(before * (length - elapsed) / length) or 0
local left, granted = math.max(0, total - used - carried), 0
if left >= need then granted = math.min(math.max(most, need), left) end
used = used + granted
redis.call('HSET', key, 'start', text(start), 'used', text(used), 'before', text(before))
redis.call('PEXPIRE', key, text(2 * length + 3600000))
return { start, used, before, granted }
