// What a consumer gets as a line of text.
#pragma once

#include <string>

#include "pgcapture.pb.h"

namespace pgc {

namespace pb = ::pgcapture;

// One JSON object, without a line end:
//   {"lsn":"0/16B3748","seq":1,"op":"INSERT","schema":"public","table":"t","new":{…},"old":{…}}
// with `"dump":true,"dump_lsn":"0/16B3748"` after op for a row of a dump (a Go gateway says no
// dump_lsn), and values as value/value_json.h has them. A column that was not sent (an unchanged
// TOAST value) is not there. What is no change:
//   {"lsn":…,"seq":0,"op":"BEGIN","xid":7,"time":"2026-01-02 03:04:05.678901+00"}
//   {"lsn":…,"seq":9,"op":"COMMIT","end_lsn":"0/16B3780","time":"2026-01-02 03:04:05.678901+00"}
//   {"lsn":…,"seq":1,"op":"TRUNCATE","tables":[{"schema":"public","table":"t"}],"cascade":false,
//    "restart_identity":false}
//   {"lsn":…,"seq":1,"op":"MESSAGE","transactional":true,"prefix":"app","content":"\\x6869"}
std::string MessageToJson(const pb::CaptureMessage& message);

// The same for people: 0/16B3748|1 UPDATE public.t old(id=2) id=3 note='it''s' gone=null
//   0/16B3748|0 BEGIN xid=7 time='2026-01-02 03:04:05.678901+00'
//   0/16B3748|9 COMMIT end_lsn=0/16B3780 time='2026-01-02 03:04:05.678901+00'
//   0/16B3748|1 TRUNCATE public.t, public.u cascade restart_identity
//   0/16B3748|1 MESSAGE app '\x6869'
//   0/16B3748|1 DDL CREATE TABLE 'CREATE TABLE t (id int)'    a row of pgcapture.ddl_logs
std::string MessageToText(const pb::CaptureMessage& message);

}  // namespace pgc
