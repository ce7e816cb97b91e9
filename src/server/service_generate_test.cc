// Completions and chat without a network: fields in, answers and streams out.
#include "server/service_test_util.h"

namespace ruvllm::server {
namespace {

TEST_F(ServiceTest, AnswersACompletion) {
  start();
  const Answer answer = complete("\"max_tokens\":4");
  EXPECT_EQ(answer.status, 200);
  const Json json = answer.json();
  EXPECT_EQ(text_at(json, {"object"}), "text_completion");
  EXPECT_EQ(text_at(json, {"choices", "text"}), "ABCD");
  EXPECT_EQ(text_at(json, {"choices", "finish_reason"}), "length");
  EXPECT_EQ(text_at(json, {"usage", "total_tokens"}), "12");
  EXPECT_EQ(text_at(json, {"usage", "prompt_tokens_details", "cached_tokens"}), "0");
  EXPECT_EQ(backend_.num_streams.load(), 0);
}

TEST_F(ServiceTest, ChoiceIndexIsPromptTimesNPlusI) {
  start();
  const Answer answer =
      post("/v1/completions", "{\"prompt\":[\"ab\",\"xy\"],\"n\":2,\"max_tokens\":2}");
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Json json = answer.json();
  const Json::Array& choices = *json.find("choices")->as_array();
  ASSERT_EQ(choices.size(), 4u);
  const char* const kTexts[] = {"AB", "AB", "XY", "XY"};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(choices[i].find("index")->as_int64(), static_cast<int64_t>(i));
    EXPECT_EQ(*choices[i].find("text")->as_string(), kTexts[i]);
  }
  EXPECT_EQ(json.find("usage")->find("completion_tokens")->as_int64(), 8);
}

TEST_F(ServiceTest, FollowersOfALongPromptStartAfterItsFirstToken) {
  start();
  const Answer answer = post(
      "/v1/completions", "{\"prompt\":\"" + std::string(40, 'a') + "\",\"n\":5,\"max_tokens\":3}");
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.json().find("choices")->as_array()->size(), 5u);
  EXPECT_EQ(answer.json().find("usage")->find("completion_tokens")->as_int64(), 15);
}

TEST_F(ServiceTest, GatesOnRequest) {
  start();
  const std::string prompt = "\"prompt\":\"ab\",\"max_tokens\":2";
  const std::string mean =
      R"("ruvllm":{"gates":{"experts":["law","poetry"],"first_completion_row":1,)"
      R"("rows":[[0.75,0.25],[0.25,0.75],[0.75,0.25]]}})";
  Answer answer = post("/v1/completions", "{" + prompt + R"(,"ruvllm":{"gates":true}})");
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_NE(answer.body.find(mean), std::string::npos) << answer.body;
  answer = post("/v1/completions", "{" + prompt + R"(,"stream":true,"ruvllm":{"gates":"mean"}})");
  EXPECT_NE(answer.body.find(mean), std::string::npos) << answer.body;
  EXPECT_EQ(answer.body.find("\"ruvllm\""), answer.body.rfind("\"ruvllm\"")) << "once, at the end";
  answer = post("/v1/completions", "{" + prompt + R"(,"ruvllm":{"gates":"modules"}})");
  EXPECT_NE(answer.body.find(R"("modules":["m"],"first_completion_row":1,"rows":[[[0.75,0.25]],)"),
            std::string::npos)
      << answer.body;
  answer =
      post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":1,)"
                                   R"("ruvllm":{"gates":true}})");
  EXPECT_NE(answer.body.find("\"first_completion_row\""), std::string::npos) << answer.body;
  for (const char* none : {R"(,"ruvllm":{"gates":false}})", R"(,"ruvllm":{}})", "}"}) {
    answer = post("/v1/completions", "{" + prompt + none);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body.find("ruvllm"), std::string::npos);
  }
  for (const char* bad : {R"(,"ruvllm":true})", R"(,"ruvllm":{"gates":1}})",
                          R"(,"ruvllm":{"gates":"all"}})", R"(,"ruvllm":{"gate":true}})"}) {
    answer = post("/v1/completions", "{" + prompt + bad);
    EXPECT_EQ(answer.status, 400) << bad;
    EXPECT_NE(answer.body.find("ruvllm"), std::string::npos);
  }
}

TEST_F(ServiceTest, AdaptersWithWeights) {
  start();
  backend_.adapter = "law";
  const auto with = [&](const std::string& adapters) {
    return post("/v1/completions",
                R"({"prompt":"ab","max_tokens":1,"ruvllm":{"adapters":)" + adapters + "}}");
  };
  EXPECT_EQ(with(R"({"law":0.5})").status, 200);
  EXPECT_EQ(backend_.last_options.adapter, "law:0.5");
  for (const char* bad :
       {"{}", "[]", R"("law")", R"({"law":"1"})", R"({"law":1e99})", R"({"law":1,"other":1})"}) {
    const Answer answer = with(bad);
    EXPECT_EQ(answer.status, 400) << bad;
    EXPECT_NE(answer.body.find("ruvllm.adapters"), std::string::npos) << answer.body;
  }
}

TEST_F(ServiceTest, StreamsServerSentEvents) {
  start();
  for (const bool notifies : {true, false}) {
    backend_.behaviour.notifies = notifies;
    const Answer answer =
        complete("\"max_tokens\":3,\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    EXPECT_EQ(answer.status, 200);
    EXPECT_NE(answer.head.find("text/event-stream"), std::string::npos);
    std::vector<Json> events;
    std::string_view rest = answer.body;
    std::string text;
    bool is_done = false;
    while (!rest.empty()) {
      const size_t end = rest.find("\n\n");
      ASSERT_NE(end, std::string_view::npos);
      const std::string_view event = rest.substr(0, end);
      rest.remove_prefix(end + 2);
      ASSERT_TRUE(event.starts_with("data: ")) << event;
      if (event == "data: [DONE]") {
        is_done = true;
        EXPECT_TRUE(rest.empty());
        break;
      }
      auto json = Json::parse(event.substr(6));
      ASSERT_TRUE(json.has_value()) << event;
      events.push_back(*json);
    }
    EXPECT_TRUE(is_done);
    ASSERT_EQ(events.size(), 5u) << answer.body;  // three tokens, the end, usage
    for (const Json& event : events) {
      const Json::Array& choices = *event.find("choices")->as_array();
      if (!choices.empty()) {
        text += *choices[0].find("text")->as_string();
        EXPECT_TRUE(event.find("usage")->is_null());
      }
    }
    EXPECT_EQ(text, "ABC");
    EXPECT_TRUE(events.back().find("choices")->as_array()->empty());
    EXPECT_EQ(events.back().find("usage")->find("completion_tokens")->as_int64(), 3);
  }
}

TEST_F(ServiceTest, ChatStreamBeginsWithTheRole) {
  start();
  const Answer answer = post(
      "/v1/chat/completions",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":2,\"stream\":true}");
  const size_t role = answer.body.find("\"delta\":{\"role\":\"assistant\"");
  const size_t content = answer.body.find("\"delta\":{\"content\":\"[\"}");
  ASSERT_NE(role, std::string::npos) << answer.body;
  ASSERT_NE(content, std::string::npos) << answer.body;
  EXPECT_LT(role, content);
  EXPECT_NE(answer.body.find("\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\""),
            std::string::npos);
}

TEST_F(ServiceTest, StopReasonNamesTheStop) {
  start();
  const Json json = complete("\"max_tokens\":8,\"stop\":[\"D\"]").json();
  EXPECT_EQ(text_at(json, {"choices", "text"}), "ABC");
  EXPECT_EQ(text_at(json, {"choices", "finish_reason"}), "stop");
  EXPECT_EQ(text_at(json, {"choices", "stop_reason"}), "D");
}

TEST_F(ServiceTest, EchoScoresThePrompt) {
  start();
  const Json json = complete("\"max_tokens\":0,\"echo\":true,\"logprobs\":1").json();
  EXPECT_EQ(text_at(json, {"choices", "text"}), "abcdefgh");
  const Json* logprobs = json.find("choices")->as_array()->front().find("logprobs");
  const Json::Array& values = *logprobs->find("token_logprobs")->as_array();
  ASSERT_EQ(values.size(), 8u);
  EXPECT_TRUE(values[0].is_null());
  EXPECT_EQ(values[1].as_double(), -1.0);
  EXPECT_EQ(logprobs->find("text_offset")->as_array()->back().as_int64(), 7);
}

TEST_F(ServiceTest, FieldsReachTheBackend) {
  start();
  const Answer answer = complete(
      "\"max_tokens\":2,\"temperature\":0.5,\"top_p\":0.25,\"top_k\":-1,\"min_p\":0.125,\"seed\":7,"
      "\"repetition_penalty\":1.5,\"frequency_penalty\":-2,\"presence_penalty\":2,"
      "\"logit_bias\":{\"65\":-100},\"stop_token_ids\":[9],\"min_tokens\":1,\"ignore_eos\":true,"
      "\"allowed_token_ids\":[65,66],\"bad_words\":[\"q\"],\"skip_special_tokens\":false,"
      "\"include_stop_str_in_output\":true,\"prompt_logprobs\":3,\"priority\":-4,"
      "\"cache_salt\":\"s\",\"n\":1");
  ASSERT_EQ(answer.status, 200) << answer.body;
  const GenerateParams& params = backend_.last_params;
  EXPECT_EQ(params.max_tokens, 2);
  EXPECT_FLOAT_EQ(params.temperature, 0.5f);
  EXPECT_FLOAT_EQ(params.top_p, 0.25f);
  EXPECT_EQ(params.top_k, 0);
  EXPECT_FLOAT_EQ(params.min_p, 0.125f);
  EXPECT_EQ(params.seed, 7u);
  EXPECT_FLOAT_EQ(params.repetition_penalty, 1.5f);
  EXPECT_FLOAT_EQ(params.frequency_penalty, -2.0f);
  EXPECT_FLOAT_EQ(params.presence_penalty, 2.0f);
  ASSERT_EQ(params.logit_bias.size(), 1u);
  EXPECT_EQ(params.logit_bias[0].first, 65);
  EXPECT_EQ(params.stop_token_ids, std::vector<int32_t>{9});
  EXPECT_EQ(params.min_tokens, 1);
  EXPECT_TRUE(params.ignore_eos);
  EXPECT_EQ(params.allowed_token_ids.size(), 2u);
  ASSERT_EQ(params.banned_sequences.size(), 2u);  // "q" and " q"
  EXPECT_FALSE(params.skip_special_tokens);
  EXPECT_TRUE(params.include_stop_in_output);
  EXPECT_EQ(params.prompt_logprobs, 3);
  EXPECT_EQ(backend_.last_options.priority, -4);
  EXPECT_EQ(backend_.last_options.cache_salt, "/s");
  EXPECT_FALSE(backend_.last_options.request_id.empty());
}

TEST_F(ServiceTest, KnownFieldsThatCannotBeObeyedAreRefusedByName) {
  start();
  const std::pair<const char*, const char*> kFields[] = {
      {"suffix", "\"x\""},
      {"best_of", "2"},
      {"response_format", "{\"type\":\"json_object\"}"},
      {"structured_outputs", "{\"regex\":\"a\"}"},
      {"guided_choice", "[\"a\"]"},
      {"use_beam_search", "true"},
      {"length_penalty", "2"},
      {"kv_transfer_params", "{}"},
      {"prompt_embeds", "\"x\""},
      {"detokenize", "false"},
  };
  for (const auto& [name, value] : kFields) {
    const Answer answer = complete("\"" + std::string(name) + "\":" + value);
    EXPECT_EQ(answer.status, 400) << name;
    EXPECT_EQ(text_at(answer.json(), {"error", "param"}), name);
    EXPECT_EQ(complete("\"" + std::string(name) + "\":null").status, 200) << name;
  }
  const Answer tools = post("/v1/chat/completions",
                            "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[]}");
  EXPECT_EQ(tools.status, 400);
  EXPECT_EQ(text_at(tools.json(), {"error", "param"}), "tools");
}

TEST_F(ServiceTest, FeaturesTheBackendLacksAreRefusedByName) {
  backend_.behaviour.features = {};
  start();
  for (const char* field :
       {"\"min_tokens\":1", "\"allowed_token_ids\":[1]", "\"bad_words\":[\"a\"]",
        "\"include_stop_str_in_output\":true", "\"skip_special_tokens\":false",
        "\"prompt_logprobs\":0", "\"priority\":1", "\"cache_salt\":\"a\"",
        "\"echo\":true,\"logprobs\":1"}) {
    EXPECT_EQ(complete(field).status, 400) << field;
  }
  EXPECT_EQ(complete("").status, 200);
}

TEST_F(ServiceTest, WrongValuesAre400) {
  start();
  for (const char* field : {"\"max_tokens\":-1",
                            "\"max_tokens\":1.5",
                            "\"max_tokens\":\"x\"",
                            "\"max_tokens\":1e99",
                            "\"max_tokens\":0",
                            "\"temperature\":-1",
                            "\"temperature\":1e999",
                            "\"top_p\":0",
                            "\"top_p\":1.5",
                            "\"top_k\":-2",
                            "\"min_p\":2",
                            "\"n\":0",
                            "\"n\":129",
                            "\"stop\":\"\"",
                            "\"stop\":[1]",
                            "\"stop_token_ids\":[256]",
                            "\"logit_bias\":{\"256\":1}",
                            "\"logit_bias\":{\"1\":101}",
                            "\"logit_bias\":[1]",
                            "\"seed\":18446744073709551615",
                            "\"logprobs\":21",
                            "\"stream\":1",
                            "\"stream_options\":{}",
                            "\"min_tokens\":17",
                            "\"cache_salt\":\"\"",
                            "\"priority\":\"a\"",
                            "\"truncate_prompt_tokens\":-2",
                            "\"repetition_penalty\":0",
                            "\"frequency_penalty\":2.5",
                            "\"echo\":\"x\"",
                            "\"allowed_token_ids\":[]",
                            "\"prompt_logprobs\":1,\"stream\":true"}) {
    const Answer answer = complete(field);
    EXPECT_EQ(answer.status, 400) << field << answer.body;
    EXPECT_NE(answer.json().find("error"), nullptr);
  }
  for (const char* body :
       {"", "[]", "{", "null", "{\"prompt\":5}", "{\"prompt\":[]}", "{\"prompt\":\"\"}",
        "{\"prompt\":[[]]}", "{\"prompt\":[\"a\",1]}", "{\"prompt\":[256]}", "{\"prompt\":[1.5]}",
        "{\"prompt\":\"a\"} x", "{\"prompt\":\"\xff\"}", "{\"a\":1,\"a\":2}"}) {
    EXPECT_EQ(post("/v1/completions", body).status, 400) << body;
  }
  EXPECT_EQ(post("/v1/completions", "{\"model\":\"other\",\"prompt\":\"a\"}").status, 404);
  std::string deep = "{\"prompt\":\"a\",\"x\":" + std::string(100000, '[') + "}";
  EXPECT_EQ(post("/v1/completions", deep).status, 400);
}

TEST_F(ServiceTest, ContextIsRespected) {
  start();
  const Answer over = post("/v1/completions", "{\"prompt\":\"" + std::string(300, 'a') + "\"}");
  EXPECT_EQ(over.status, 400);
  EXPECT_NE(over.body.find("256"), std::string::npos);
  EXPECT_NE(over.body.find("300"), std::string::npos);
  const Json json = complete("\"max_tokens\":10000").json();
  EXPECT_EQ(text_at(json, {"usage", "total_tokens"}), "256");
  const Json cut = complete("\"truncate_prompt_tokens\":3,\"max_tokens\":3").json();
  EXPECT_EQ(text_at(cut, {"choices", "text"}), "FGH");
}

}  // namespace
}  // namespace ruvllm::server
