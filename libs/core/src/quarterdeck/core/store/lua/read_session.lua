-- request = {session_id, fields}. Extra answer: {values, how many rounds, the newest one's command}
local rounds = key_rounds(request[1])
local values = redis.call('HMGET', key_session(request[1]), unpack(request[2]))
return answer({values, redis.call('ZCARD', rounds), redis.call('ZREVRANGE', rounds, 0, 0)[1] or false})
