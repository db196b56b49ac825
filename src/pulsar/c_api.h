// The functions of Apache's client library that are used here: their names, types and numbers,
// which are its public C interface. The library is loaded at run time, so that nobody needs it who
// has no Pulsar; library.h fills the table.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pgc::pulsar::c {

struct Client;
struct ClientConfiguration;
struct Authentication;
struct Producer;
struct ProducerConfiguration;
struct Reader;
struct ReaderConfiguration;
struct Consumer;
struct ConsumerConfiguration;
struct Message;
struct MessageId;
struct StringList;

// The results that are told apart; 0 is success (result.h has the others' meanings).
enum Result : int { kOk = 0, kTimeout = 3 };
enum LogLevel : int { kDebug = 0, kInfo = 1, kWarn = 2, kError = 3 };
enum Compression : int { kZstd = 3 };
enum ConsumerType : int { kExclusive = 0, kShared = 1 };
enum InitialPosition : int { kLatest = 0, kEarliest = 1 };

using Logger = void (*)(LogLevel, const char* file, int line, const char* message, void* context);
using TokenSupplier = char* (*)(void* context);  // the library frees what it returns
using ResultCallback = void (*)(Result, void* context);
using SendCallback = void (*)(Result, MessageId*, void* context);
using ReceiveCallback = void (*)(Result, Message*, void* context);

// F(name without `pulsar_`, what it returns, what it takes)
// clang-format off
#define PGC_PULSAR_FUNCTIONS(F)                                                                     \
  F(result_str, const char*, (Result))                                                              \
  F(string_list_free, void, (StringList*))                                                          \
  F(string_list_size, int, (StringList*))                                                           \
  F(authentication_free, void, (Authentication*))                                                   \
  F(authentication_oauth2_create, Authentication*, (const char* parameters))                        \
  F(authentication_tls_create, Authentication*, (const char* certificate, const char* key))         \
  F(authentication_token_create, Authentication*, (const char* token))                              \
  F(authentication_token_create_with_supplier, Authentication*, (TokenSupplier, void* context))     \
  F(client_configuration_create, ClientConfiguration*, ())                                          \
  F(client_configuration_free, void, (ClientConfiguration*))                                        \
  F(client_configuration_set_auth, void, (ClientConfiguration*, Authentication*))                   \
  F(client_configuration_set_io_threads, void, (ClientConfiguration*, int))                         \
  F(client_configuration_set_logger, void, (ClientConfiguration*, Logger, void* context))           \
  F(client_configuration_set_message_listener_threads, void, (ClientConfiguration*, int))           \
  F(client_configuration_set_operation_timeout_seconds, void, (ClientConfiguration*, int))          \
  F(client_configuration_set_stats_interval_in_seconds, void, (ClientConfiguration*, unsigned))     \
  F(client_configuration_set_tls_allow_insecure_connection, void, (ClientConfiguration*, int))      \
  F(client_configuration_set_tls_trust_certs_file_path, void, (ClientConfiguration*, const char*))  \
  F(client_configuration_set_validate_hostname, void, (ClientConfiguration*, int))                  \
  F(client_create, Client*, (const char* service_url, const ClientConfiguration*))                  \
  F(client_close, Result, (Client*))                                                                \
  F(client_free, void, (Client*))                                                                   \
  F(client_create_producer, Result, (Client*, const char* topic, const ProducerConfiguration*,      \
                                     Producer**))                                                   \
  F(client_create_reader, Result, (Client*, const char* topic, const MessageId* start,              \
                                   ReaderConfiguration*, Reader**))                                 \
  F(client_get_topic_partitions, Result, (Client*, const char* topic, StringList**))                \
  F(client_subscribe, Result, (Client*, const char* topic, const char* subscription,                \
                               const ConsumerConfiguration*, Consumer**))                           \
  F(producer_configuration_create, ProducerConfiguration*, ())                                      \
  F(producer_configuration_free, void, (ProducerConfiguration*))                                    \
  F(producer_configuration_set_batching_enabled, void, (ProducerConfiguration*, int))               \
  F(producer_configuration_set_batching_max_allowed_size_in_bytes, void, (ProducerConfiguration*,   \
                                                                          unsigned long))           \
  F(producer_configuration_set_batching_max_messages, void, (ProducerConfiguration*, unsigned))     \
  F(producer_configuration_set_batching_max_publish_delay_ms, void, (ProducerConfiguration*,        \
                                                                     unsigned long))                \
  F(producer_configuration_set_compression_type, void, (ProducerConfiguration*, Compression))       \
  F(producer_configuration_set_max_pending_messages, void, (ProducerConfiguration*, int))           \
  F(producer_configuration_set_producer_name, void, (ProducerConfiguration*, const char*))          \
  F(producer_configuration_set_property, void, (ProducerConfiguration*, const char* name,           \
                                                const char* value))                                 \
  F(producer_configuration_set_send_timeout, void, (ProducerConfiguration*, int ms))                \
  F(producer_close, Result, (Producer*))                                                            \
  F(producer_close_async, void, (Producer*, ResultCallback, void* context))                         \
  F(producer_flush_async, void, (Producer*, ResultCallback, void* context))                         \
  F(producer_free, void, (Producer*))                                                               \
  F(producer_send_async, void, (Producer*, Message*, SendCallback, void* context))                  \
  F(reader_configuration_create, ReaderConfiguration*, ())                                          \
  F(reader_configuration_free, void, (ReaderConfiguration*))                                        \
  F(reader_configuration_set_reader_name, void, (ReaderConfiguration*, const char*))                \
  F(reader_configuration_set_receiver_queue_size, void, (ReaderConfiguration*, int))                \
  F(reader_configuration_set_subscription_role_prefix, void, (ReaderConfiguration*, const char*))   \
  F(reader_close, Result, (Reader*))                                                                \
  F(reader_free, void, (Reader*))                                                                   \
  F(reader_has_message_available, Result, (Reader*, int* available))                                \
  F(reader_is_connected, int, (Reader*))                                                            \
  F(reader_read_next_with_timeout, Result, (Reader*, Message**, int timeout_ms))                    \
  F(reader_seek_by_timestamp, Result, (Reader*, uint64_t unix_ms))                                  \
  F(configure_set_negative_ack_redelivery_delay_ms, void, (ConsumerConfiguration*, long))           \
  F(consumer_configuration_create, ConsumerConfiguration*, ())                                      \
  F(consumer_configuration_free, void, (ConsumerConfiguration*))                                    \
  F(consumer_configuration_set_consumer_type, void, (ConsumerConfiguration*, ConsumerType))         \
  F(consumer_configuration_set_receiver_queue_size, void, (ConsumerConfiguration*, int))            \
  F(consumer_set_consumer_name, void, (ConsumerConfiguration*, const char*))                        \
  F(consumer_set_subscription_initial_position, void, (ConsumerConfiguration*, InitialPosition))    \
  F(consumer_acknowledge_async_id, void, (Consumer*, MessageId*, ResultCallback, void* context))    \
  F(consumer_acknowledge_cumulative_async_id, void, (Consumer*, MessageId*, ResultCallback,         \
                                                     void* context))                                \
  F(consumer_close, Result, (Consumer*))                                                            \
  F(consumer_free, void, (Consumer*))                                                               \
  F(consumer_get_last_message_id, Result, (Consumer*, MessageId*))                                  \
  F(consumer_is_connected, int, (Consumer*))                                                        \
  F(consumer_negative_acknowledge_id, void, (Consumer*, MessageId*))                                \
  F(consumer_receive_async, void, (Consumer*, ReceiveCallback, void* context))                      \
  F(consumer_seek, Result, (Consumer*, MessageId*))                                                 \
  F(consumer_seek_by_timestamp, Result, (Consumer*, uint64_t unix_ms))                              \
  F(consumer_unsubscribe, Result, (Consumer*))                                                      \
  F(message_create, Message*, ())                                                                   \
  F(message_free, void, (Message*))                                                                 \
  F(message_get_data, const void*, (Message*))                                                      \
  F(message_get_length, uint32_t, (Message*))                                                       \
  F(message_get_message_id, MessageId*, (Message*))                                                 \
  F(message_get_partitionKey, const char*, (Message*))                                              \
  F(message_get_publish_timestamp, uint64_t, (Message*))                                            \
  F(message_get_redelivery_count, int, (Message*))                                                  \
  F(message_set_content, void, (Message*, const void* bytes, size_t length))                        \
  F(message_set_partition_key, void, (Message*, const char*))                                       \
  F(message_set_replication_clusters, void, (Message*, const char** clusters, size_t count))        \
  F(message_id_deserialize, MessageId*, (const void* bytes, uint32_t length))                       \
  F(message_id_earliest, const MessageId*, ())                                                      \
  F(message_id_free, void, (MessageId*))                                                            \
  F(message_id_latest, const MessageId*, ())                                                        \
  F(message_id_serialize, void*, (MessageId*, int* length))
// clang-format on

struct Api {
#define PGC_PULSAR_MEMBER(name, result, arguments) result(*name) arguments = nullptr;
  PGC_PULSAR_FUNCTIONS(PGC_PULSAR_MEMBER)
#undef PGC_PULSAR_MEMBER
};

}  // namespace pgc::pulsar::c
