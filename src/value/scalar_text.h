// PostgreSQL's binary values as the text that it prints for them, without quotes; dates and
// timestamps as its to_json prints them, with the time zone UTC.
//
// Each appends the text of the value at `in`. False when the bytes are not such a value; what has
// been appended and read by then means nothing. Whether the value has ended there is the
// caller's to check.
#pragma once

#include <string>

#include "base/byte_reader.h"

namespace pgc {

bool AppendBool(std::string& out, ByteReader& in);
bool AppendInt2(std::string& out, ByteReader& in);
bool AppendInt4(std::string& out, ByteReader& in);
bool AppendInt8(std::string& out, ByteReader& in);
bool AppendUint32(std::string& out, ByteReader& in);  // oid, xid, cid
bool AppendUint64(std::string& out, ByteReader& in);  // xid8
bool AppendFloat4(std::string& out, ByteReader& in);
bool AppendFloat8(std::string& out, ByteReader& in);
// Up to 131,072 digits before the point and 16,383 after it, whatever the bytes are.
bool AppendNumeric(std::string& out, ByteReader& in);

bool AppendDate(std::string& out, ByteReader& in);
bool AppendTime(std::string& out, ByteReader& in);
bool AppendTimeTz(std::string& out, ByteReader& in);
bool AppendTimestamp(std::string& out, ByteReader& in);
bool AppendTimestampTz(std::string& out, ByteReader& in);
bool AppendInterval(std::string& out, ByteReader& in);  // in the style `postgres`

bool AppendText(std::string& out, ByteReader& in);  // all types whose binary form is their text
bool AppendChar(std::string& out, ByteReader& in);  // the type "char"
bool AppendBytea(std::string& out, ByteReader& in);
bool AppendBits(std::string& out, ByteReader& in);       // bit, varbit
bool AppendVersioned(std::string& out, ByteReader& in);  // jsonb, jsonpath: a version, then text
bool AppendUuid(std::string& out, ByteReader& in);
bool AppendInet(std::string& out, ByteReader& in);  // inet, cidr
bool AppendMacaddr(std::string& out, ByteReader& in);
bool AppendMacaddr8(std::string& out, ByteReader& in);
bool AppendLsn(std::string& out, ByteReader& in);
bool AppendTid(std::string& out, ByteReader& in);
bool AppendPoint(std::string& out, ByteReader& in);

}  // namespace pgc
