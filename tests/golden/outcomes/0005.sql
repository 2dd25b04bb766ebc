BEGIN TRANSACTION;
CREATE TABLE fds_counts (
	id INTEGER NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	rollout_id VARCHAR(64) NOT NULL, 
	terms VARCHAR(100) NOT NULL, 
	outcome_id BIGINT NOT NULL, 
	shadow_id BIGINT NOT NULL, 
	case_id BIGINT NOT NULL, 
	matured_time DATETIME, 
	matured_id BIGINT NOT NULL, 
	as_of DATETIME NOT NULL, 
	final BOOLEAN NOT NULL, 
	CONSTRAINT pk_fds_counts PRIMARY KEY (id), 
	CONSTRAINT uq_fds_counts_model_rollout_id_terms UNIQUE (model, rollout_id, terms)
);
INSERT INTO "fds_counts" VALUES(1,'fraud','00000000000000000000000002','{"latency_bound_ms": 20.0, "maturity_s": 1800, "by": "h"}',51,11,24,'2026-03-01 13:30:00.123456',9223372036854775807,'2026-03-01 14:00:00.123456',0);
CREATE TABLE fds_first_events (
	count_id INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	outcome_id BIGINT NOT NULL, 
	CONSTRAINT pk_fds_first_events PRIMARY KEY (count_id, kind, "key"), 
	CONSTRAINT fk_fds_first_events_count_id FOREIGN KEY(count_id) REFERENCES fds_counts (id)
)
 WITHOUT ROWID

;
INSERT INTO "fds_first_events" VALUES(1,'alert','K10',11);
INSERT INTO "fds_first_events" VALUES(1,'alert','K11',12);
INSERT INTO "fds_first_events" VALUES(1,'alert','K25',26);
INSERT INTO "fds_first_events" VALUES(1,'alert','K30',31);
INSERT INTO "fds_first_events" VALUES(1,'alert','K33',34);
INSERT INTO "fds_first_events" VALUES(1,'alert','K37',38);
INSERT INTO "fds_first_events" VALUES(1,'error','1028',39);
INSERT INTO "fds_first_events" VALUES(1,'error','K27',28);
INSERT INTO "fds_first_events" VALUES(1,'error','K5',6);
INSERT INTO "fds_first_events" VALUES(1,'error','TX16',17);
INSERT INTO "fds_first_events" VALUES(1,'false_positive','K10',11);
INSERT INTO "fds_first_events" VALUES(1,'missed_fraud','1000.0',1);
INSERT INTO "fds_first_events" VALUES(1,'missed_fraud','1008',9);
INSERT INTO "fds_first_events" VALUES(1,'missed_fraud','1024',25);
INSERT INTO "fds_first_events" VALUES(1,'missed_fraud','TX16',17);
INSERT INTO "fds_first_events" VALUES(1,'pair','1000.0',1);
INSERT INTO "fds_first_events" VALUES(1,'pair','1004',5);
INSERT INTO "fds_first_events" VALUES(1,'pair','1008',9);
INSERT INTO "fds_first_events" VALUES(1,'pair','1020.0',21);
INSERT INTO "fds_first_events" VALUES(1,'pair','1024',25);
INSERT INTO "fds_first_events" VALUES(1,'pair','1028',29);
INSERT INTO "fds_first_events" VALUES(1,'pair','1040.0',41);
INSERT INTO "fds_first_events" VALUES(1,'pair','K22',33);
INSERT INTO "fds_first_events" VALUES(1,'pair','TX16',17);
INSERT INTO "fds_first_events" VALUES(1,'pair','TX36',37);
INSERT INTO "fds_first_events" VALUES(1,'slow','1008',9);
INSERT INTO "fds_first_events" VALUES(1,'slow','K13',14);
INSERT INTO "fds_first_events" VALUES(1,'slow','K21',22);
INSERT INTO "fds_first_events" VALUES(1,'slow','K23',24);
INSERT INTO "fds_first_events" VALUES(1,'slow','K25',36);
INSERT INTO "fds_first_events" VALUES(1,'slow','K26',27);
INSERT INTO "fds_first_events" VALUES(1,'slow','K31',42);
INSERT INTO "fds_first_events" VALUES(1,'slow','K33',34);
INSERT INTO "fds_first_events" VALUES(1,'slow','K43',44);
INSERT INTO "fds_first_events" VALUES(1,'slow','K6',7);
INSERT INTO "fds_first_events" VALUES(1,'slow','TX36',37);
CREATE TABLE fds_fraud_cases (
	id INTEGER NOT NULL, 
	transaction_id VARCHAR(255) NOT NULL, 
	status VARCHAR(14) NOT NULL, 
	fraud_type VARCHAR(64), 
	loss_amount DOUBLE, 
	occurred_at DATETIME, 
	reported_at DATETIME, 
	resolved_at DATETIME, 
	known_at DATETIME NOT NULL, withdrawn BOOLEAN DEFAULT 0 NOT NULL, propensity DOUBLE, 
	CONSTRAINT pk_fds_fraud_cases PRIMARY KEY (id), 
	CONSTRAINT uq_fds_fraud_cases_transaction_id_known_at UNIQUE (transaction_id, known_at), 
	CONSTRAINT ck_fds_fraud_cases_status CHECK (status IN ('suspected', 'confirmed', 'false_positive', 'genuine')), 
	CONSTRAINT ck_fds_fraud_cases_loss CHECK (loss_amount >= 0)
);
INSERT INTO "fds_fraud_cases" VALUES(1,'1000','confirmed','stolen card',0.5,'2026-03-01 12:00:00.123456','2026-03-01 12:05:00.123456','2026-03-01 12:20:00.123456','2026-03-01 12:20:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(2,'1002','genuine',NULL,NULL,NULL,'2026-03-01 12:07:00.123456','2026-03-01 12:22:00.123456','2026-03-01 12:22:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(3,'1002','confirmed',NULL,77.0,NULL,NULL,NULL,'2026-03-01 12:40:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(4,'1004','false_positive',NULL,NULL,NULL,'2026-03-01 12:09:00.123456','2026-03-01 12:24:00.123456','2026-03-01 12:24:00.123456',0,0.5);
INSERT INTO "fds_fraud_cases" VALUES(5,'1008','confirmed','stolen card',80.5,'2026-03-01 12:08:00.123456','2026-03-01 12:13:00.123456','2026-03-01 12:28:00.123456','2026-03-01 12:28:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(6,'1010','genuine',NULL,NULL,NULL,'2026-03-01 12:15:00.123456','2026-03-01 12:30:00.123456','2026-03-01 12:30:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(7,'1012','false_positive',NULL,NULL,NULL,'2026-03-01 12:17:00.123456','2026-03-01 12:32:00.123456','2026-03-01 12:32:00.123456',0,0.5);
INSERT INTO "fds_fraud_cases" VALUES(8,'1014','suspected',NULL,NULL,NULL,'2026-03-01 12:19:00.123456','2026-03-01 12:34:00.123456','2026-03-01 12:34:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(9,'1018','genuine',NULL,NULL,NULL,'2026-03-01 12:23:00.123456','2026-03-01 12:38:00.123456','2026-03-01 12:38:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(10,'1020','false_positive',NULL,NULL,NULL,'2026-03-01 13:25:00.123456','2026-03-01 13:40:00.123456','2026-03-01 13:40:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(11,'1022','suspected',NULL,NULL,NULL,'2026-03-01 13:27:00.123456','2026-03-01 13:42:00.123456','2026-03-01 13:42:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(12,'1024','confirmed','stolen card',240.5,'2026-03-01 13:24:00.123456','2026-03-01 13:29:00.123456','2026-03-01 13:44:00.123456','2026-03-01 13:44:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(13,'1028','false_positive',NULL,NULL,NULL,'2026-03-01 13:33:00.123456','2026-03-01 13:48:00.123456','2026-03-01 13:48:00.123456',0,0.5);
INSERT INTO "fds_fraud_cases" VALUES(14,'1030','suspected',NULL,NULL,NULL,'2026-03-01 13:35:00.123456','2026-03-01 13:50:00.123456','2026-03-01 13:50:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(15,'1032','confirmed','stolen card',320.5,'2026-03-01 13:32:00.123456','2026-03-01 13:37:00.123456','2026-03-01 13:52:00.123456','2026-03-01 13:52:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(16,'1034','genuine',NULL,NULL,NULL,'2026-03-01 13:39:00.123456','2026-03-01 13:54:00.123456','2026-03-01 13:54:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(17,'1038','suspected',NULL,NULL,NULL,'2026-03-01 14:43:00.123456','2026-03-01 14:58:00.123456','2026-03-01 14:58:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(18,'1040','confirmed','stolen card',400.5,'2026-03-01 14:40:00.123456','2026-03-01 14:45:00.123456','2026-03-01 15:00:00.123456','2026-03-01 15:00:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(19,'1042','genuine',NULL,NULL,NULL,'2026-03-01 14:47:00.123456','2026-03-01 15:02:00.123456','2026-03-01 15:02:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(20,'TX16','confirmed','stolen card',160.5,'2026-03-01 12:16:00.123456','2026-03-01 12:21:00.123456','2026-03-01 12:36:00.123456','2026-03-01 12:36:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(21,'TX26','genuine',NULL,NULL,NULL,'2026-03-01 13:31:00.123456','2026-03-01 13:46:00.123456','2026-03-01 13:46:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(22,'TX36','false_positive',NULL,NULL,NULL,'2026-03-01 13:41:00.123456','2026-03-01 13:56:00.123456','2026-03-01 13:56:00.123456',0,0.5);
INSERT INTO "fds_fraud_cases" VALUES(23,'TX6','suspected',NULL,NULL,NULL,'2026-03-01 12:11:00.123456','2026-03-01 12:26:00.123456','2026-03-01 12:26:00.123456',0,NULL);
INSERT INTO "fds_fraud_cases" VALUES(24,'unheard of','confirmed',NULL,NULL,NULL,NULL,NULL,'2026-03-01 12:00:00.123456',0,NULL);
CREATE TABLE fds_outcomes (
	id INTEGER NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	request_id VARCHAR(255) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	transaction_id VARCHAR(255) NOT NULL, 
	rollout_id VARCHAR(64), 
	step INTEGER NOT NULL, 
	weight INTEGER NOT NULL, 
	assigned VARCHAR(8) NOT NULL, 
	served VARCHAR(8) NOT NULL, 
	version INTEGER NOT NULL, 
	score DOUBLE, 
	flagged BOOLEAN NOT NULL, 
	latency_ms DOUBLE NOT NULL, 
	error TEXT, 
	time DATETIME NOT NULL, propensity DOUBLE, explored BOOLEAN DEFAULT 0 NOT NULL, segment VARCHAR(64), degraded BOOLEAN DEFAULT 0 NOT NULL, inputs_digest VARCHAR(32), reasons TEXT, 
	CONSTRAINT pk_fds_outcomes PRIMARY KEY (id), 
	CONSTRAINT uq_fds_outcomes_model_request_id UNIQUE (model, request_id), 
	CONSTRAINT ck_fds_outcomes_step CHECK (step >= 0), 
	CONSTRAINT ck_fds_outcomes_weight CHECK (weight BETWEEN 0 AND 10000), 
	CONSTRAINT ck_fds_outcomes_assigned CHECK (assigned IN ('champion', 'canary')), 
	CONSTRAINT ck_fds_outcomes_served CHECK (served IN ('champion', 'canary')), 
	CONSTRAINT ck_fds_outcomes_rollout CHECK (rollout_id IS NOT NULL OR assigned = 'champion'), 
	CONSTRAINT ck_fds_outcomes_version CHECK (version >= 1), 
	CONSTRAINT ck_fds_outcomes_score CHECK (score BETWEEN 0 AND 1), 
	CONSTRAINT ck_fds_outcomes_answer CHECK (score IS NOT NULL OR error IS NOT NULL), 
	CONSTRAINT ck_fds_outcomes_latency CHECK (latency_ms >= 0)
);
INSERT INTO "fds_outcomes" VALUES(1,'fraud','R000','1000.0','1000','00000000000000000000000002',0,100,'canary','canary',2,0.324,0,1.04,NULL,'2026-03-01 12:00:00.123456',0.25,0,NULL,0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(2,'fraud','R001','K1','TX1','00000000000000000000000002',0,100,'champion','champion',1,0.651,0,1.0,NULL,'2026-03-01 12:01:00.123456',0.25,0,'KR',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(3,'fraud','R002','K2','1002','00000000000000000000000002',0,100,'champion','champion',1,0.536,0,2.43,NULL,'2026-03-01 12:02:00.123456',0.25,0,'US',0,'0123456789abcdef','[{"code":"V01","value":3,"contribution":0.5}]');
INSERT INTO "fds_outcomes" VALUES(4,'fraud','R003','K3','1003','00000000000000000000000002',0,100,'canary','canary',2,0.058,0,6.3,NULL,'2026-03-01 12:03:00.123456',0.25,0,'other',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(5,'fraud','R004','1004','1004','00000000000000000000000002',0,100,'champion','champion',1,0.037,0,3.83,NULL,'2026-03-01 12:04:00.123456',0.25,0,NULL,0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(6,'fraud','R005','K5','1005','00000000000000000000000002',0,100,'champion','champion',1,NULL,0,1.01,'time-out: größer','2026-03-01 12:05:00.123456',0.25,0,'KR',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(7,'fraud','R006','K6','TX6','00000000000000000000000002',0,100,'canary','canary',2,0.425,0,38.39,NULL,'2026-03-01 12:06:00.123456',0.0,0,'US',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(8,'fraud','R007','K7','1007','00000000000000000000000002',0,100,'champion','champion',1,0.124,0,1.2,NULL,'2026-03-01 12:07:00.123456',0.25,0,'other',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(9,'fraud','R008','1008','1008','00000000000000000000000002',0,100,'champion','champion',1,0.627,0,65.53,NULL,'2026-03-01 12:08:00.123456',0.25,0,NULL,0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(10,'fraud','R009','K9','1009','00000000000000000000000002',0,100,'canary','canary',2,0.577,0,2.98,NULL,'2026-03-01 12:09:00.123456',NULL,0,'KR',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(11,'fraud','R010','K10','1010','00000000000000000000000002',0,100,'champion','champion',1,0.976,1,1.0,NULL,'2026-03-01 12:10:00.123456',0.25,0,'US',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(12,'fraud','R011','K11','TX11','00000000000000000000000002',0,100,'champion','champion',1,0.858,1,1.56,NULL,'2026-03-01 12:11:00.123456',0.25,1,'other',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(13,'fraud','R012','1012','1012','00000000000000000000000002',0,100,'canary','champion',1,0.144,0,1.02,NULL,'2026-03-01 12:12:00.123456',0.25,0,NULL,0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(14,'fraud','R013','K13','1013','00000000000000000000000002',0,100,'champion','champion',1,0.308,0,36.49,NULL,'2026-03-01 12:13:00.123456',0.0,0,'KR',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(15,'fraud','R014','K14','1014','00000000000000000000000002',0,100,'champion','champion',1,0.181,0,10.15,NULL,'2026-03-01 12:14:00.123456',0.25,0,'US',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(16,'fraud','R015','K15','1015','00000000000000000000000002',0,100,'canary','canary',2,0.639,0,2.54,NULL,'2026-03-01 12:15:00.123456',0.25,0,'other',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(17,'fraud','R016','TX16','TX16','00000000000000000000000002',0,100,'champion','champion',1,NULL,0,1.0,'time-out: größer','2026-03-01 12:16:00.123456',0.25,0,NULL,0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(18,'fraud','R017','K17','1017','00000000000000000000000002',0,100,'champion','champion',1,0.06,0,1.14,NULL,'2026-03-01 12:17:00.123456',0.25,0,'KR',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(19,'fraud','R018','K18','1018','00000000000000000000000002',0,100,'canary','canary',2,0.68,0,3.67,NULL,'2026-03-01 12:18:00.123456',0.25,0,'US',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(20,'fraud','R019','K19','1019','00000000000000000000000002',0,100,'champion','champion',1,0.314,0,10.41,NULL,'2026-03-01 12:19:00.123456',NULL,0,'other',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(21,'fraud','R020','1020.0','1020','00000000000000000000000002',0,100,'champion','champion',1,0.453,0,1.65,NULL,'2026-03-01 13:20:00.123456',0.0,0,NULL,0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(22,'fraud','R021','K21','TX21','00000000000000000000000002',0,100,'canary','canary',2,0.794,0,20.1,NULL,'2026-03-01 13:21:00.123456',0.25,0,'KR',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(23,'fraud','R022','K22','1022','00000000000000000000000002',1,250,'champion','champion',1,0.244,0,9.71,NULL,'2026-03-01 13:22:00.123456',0.25,0,'US',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(24,'fraud','R023','K23','1023','00000000000000000000000002',1,250,'champion','champion',1,0.525,0,47.92,NULL,'2026-03-01 13:23:00.123456',0.25,0,'other',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(25,'fraud','R024','1024','1024','00000000000000000000000002',1,250,'canary','canary',2,0.729,0,1.55,NULL,'2026-03-01 13:24:00.123456',0.25,0,NULL,0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(26,'fraud','R025','K25','1025','00000000000000000000000002',1,250,'champion','champion',1,0.98,1,1.02,NULL,'2026-03-01 13:25:00.123456',0.25,1,'KR',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(27,'fraud','R026','K26','TX26','00000000000000000000000002',1,250,'champion','champion',1,0.418,0,27.29,NULL,'2026-03-01 13:26:00.123456',0.25,0,'US',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(28,'fraud','R027','K27','1027','00000000000000000000000002',1,250,'canary','canary',2,NULL,0,5.57,'time-out: größer','2026-03-01 13:27:00.123456',0.0,0,'other',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(29,'fraud','R028','1028','1028','00000000000000000000000002',1,250,'champion','champion',1,0.039,0,16.95,NULL,'2026-03-01 13:28:00.123456',0.25,0,NULL,0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(30,'fraud','R029','K29','1029','00000000000000000000000002',1,250,'champion','champion',1,0.765,0,9.63,NULL,'2026-03-01 13:29:00.123456',NULL,0,'KR',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(31,'fraud','R030','K30','1030','00000000000000000000000002',1,250,'canary','canary',2,0.875,1,1.78,NULL,'2026-03-01 13:30:00.123456',0.25,0,'US',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(32,'fraud','R031','K31','TX31','00000000000000000000000002',1,250,'champion','champion',1,0.695,0,10.98,NULL,'2026-03-01 13:31:00.123456',0.25,0,'other',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(33,'fraud','R032','K22','1032','00000000000000000000000002',1,250,'champion','champion',1,0.58,0,4.47,NULL,'2026-03-01 13:32:00.123456',0.25,0,NULL,0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(34,'fraud','R033','K33','1033','00000000000000000000000002',1,250,'canary','canary',2,0.84,1,64.71,NULL,'2026-03-01 13:33:00.123456',0.25,1,'KR',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(35,'fraud','R034','K34','1034','00000000000000000000000002',1,250,'champion','champion',1,0.474,0,16.57,NULL,'2026-03-01 13:34:00.123456',0.0,0,'US',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(36,'fraud','R035','K25','1035','00000000000000000000000002',1,250,'champion','champion',1,0.061,0,20.37,NULL,'2026-03-01 13:35:00.123456',0.25,0,'other',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(37,'fraud','R036','TX36','TX36','00000000000000000000000002',1,250,'canary','canary',2,0.647,0,78.81,NULL,'2026-03-01 13:36:00.123456',0.25,0,NULL,0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(38,'fraud','R037','K37','1037','00000000000000000000000002',1,250,'champion','champion',1,0.822,1,1.52,NULL,'2026-03-01 13:37:00.123456',0.25,1,'KR',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(39,'fraud','R038','1028','1038','00000000000000000000000002',1,250,'champion','champion',1,NULL,0,16.99,'time-out: größer','2026-03-01 14:38:00.123456',0.25,0,'US',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(40,'fraud','R039','K39','1039','00000000000000000000000002',1,250,'canary','canary',2,0.023,0,4.64,NULL,'2026-03-01 14:39:00.123456',NULL,0,'other',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(41,'fraud','R040','1040.0','1040','00000000000000000000000002',1,250,'champion','champion',1,0.168,0,1.02,NULL,'2026-03-01 14:40:00.123456',0.25,0,NULL,0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(42,'fraud','R041','K31','TX41','00000000000000000000000002',1,250,'champion','champion',1,0.059,0,28.87,NULL,'2026-03-01 14:41:00.123456',0.0,0,'KR',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(43,'fraud','R042','K42','1042','00000000000000000000000002',1,250,'canary','canary',2,0.129,0,1.3,NULL,'2026-03-01 14:42:00.123456',0.25,0,'US',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(44,'fraud','R043','K43','1043','00000000000000000000000002',1,250,'champion','champion',1,0.391,0,47.13,NULL,'2026-03-01 14:43:00.123456',0.25,0,'other',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(45,'fraud','R044','1044','1044',NULL,0,0,'champion','champion',1,0.081,0,4.26,NULL,'2026-03-01 14:44:00.123456',0.25,0,NULL,0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(46,'fraud','R045','K45','1045',NULL,0,0,'champion','champion',1,0.549,0,49.72,NULL,'2026-03-01 14:45:00.123456',0.25,0,'KR',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(47,'fraud','R046','K46','TX46',NULL,0,0,'champion','champion',1,0.819,1,45.58,NULL,'2026-03-01 14:46:00.123456',0.25,0,'US',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(48,'fraud','R047','K47','1047',NULL,0,0,'champion','champion',1,0.278,0,3.38,NULL,'2026-03-01 14:47:00.123456',0.25,0,'other',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(49,'fraud','R048','1048','1048',NULL,0,0,'champion','champion',1,0.359,0,49.9,NULL,'2026-03-01 14:48:00.123456',0.0,0,NULL,0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(50,'fraud','R049','K49','1049',NULL,0,0,'champion','champion',1,0.958,1,1.04,NULL,'2026-03-01 14:49:00.123456',NULL,0,'KR',0,NULL,NULL);
INSERT INTO "fds_outcomes" VALUES(51,'other','R000','K50','1050',NULL,0,0,'champion','champion',1,0.176,0,1.23,NULL,'2026-03-01 14:00:00.123456',0.25,0,'US',0,NULL,NULL);
CREATE TABLE fds_outcomes_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT fds_outcomes_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "fds_outcomes_version" VALUES('0005');
CREATE TABLE fds_shadows (
	id INTEGER NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	request_id VARCHAR(255) NOT NULL, 
	version INTEGER NOT NULL, 
	score DOUBLE, 
	flagged BOOLEAN NOT NULL, 
	latency_ms DOUBLE NOT NULL, 
	error TEXT, 
	time DATETIME NOT NULL, 
	CONSTRAINT pk_fds_shadows PRIMARY KEY (id), 
	CONSTRAINT uq_fds_shadows_model_request_id UNIQUE (model, request_id), 
	CONSTRAINT ck_fds_shadows_version CHECK (version >= 1), 
	CONSTRAINT ck_fds_shadows_score CHECK (score BETWEEN 0 AND 1), 
	CONSTRAINT ck_fds_shadows_answer CHECK (score IS NOT NULL OR error IS NOT NULL), 
	CONSTRAINT ck_fds_shadows_latency CHECK (latency_ms >= 0)
);
INSERT INTO "fds_shadows" VALUES(1,'fraud','R000',1,0.233,0,3.5,NULL,'2026-03-01 14:00:01.123456');
INSERT INTO "fds_shadows" VALUES(2,'fraud','R004',2,0.485,0,3.5,NULL,'2026-03-01 12:04:01.123456');
INSERT INTO "fds_shadows" VALUES(3,'fraud','R008',2,0.589,0,3.5,NULL,'2026-03-01 12:08:01.123456');
INSERT INTO "fds_shadows" VALUES(4,'fraud','R012',1,0.263,0,3.5,NULL,'2026-03-01 12:12:01.123456');
INSERT INTO "fds_shadows" VALUES(5,'fraud','R016',2,0.004,0,3.5,NULL,'2026-03-01 12:16:01.123456');
INSERT INTO "fds_shadows" VALUES(6,'fraud','R020',2,0.419,0,3.5,NULL,'2026-03-01 13:20:01.123456');
INSERT INTO "fds_shadows" VALUES(7,'fraud','R024',1,0.369,0,3.5,NULL,'2026-03-01 13:24:01.123456');
INSERT INTO "fds_shadows" VALUES(8,'fraud','R028',2,0.566,0,3.5,NULL,'2026-03-01 13:28:01.123456');
INSERT INTO "fds_shadows" VALUES(9,'fraud','R032',2,0.953,1,3.5,NULL,'2026-03-01 13:32:01.123456');
INSERT INTO "fds_shadows" VALUES(10,'fraud','R036',1,0.69,0,3.5,NULL,'2026-03-01 13:36:01.123456');
INSERT INTO "fds_shadows" VALUES(11,'fraud','R040',2,0.515,0,3.5,NULL,'2026-03-01 14:40:01.123456');
CREATE TABLE "fds_tallies" (
	count_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	weight INTEGER NOT NULL, 
	assigned VARCHAR(8) NOT NULL, 
	numbers JSON NOT NULL, 
	first DATETIME NOT NULL, 
	last DATETIME NOT NULL, 
	hour INTEGER DEFAULT '0' NOT NULL, 
	segment VARCHAR(64) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_fds_tallies PRIMARY KEY (count_id, step, weight, assigned, hour, segment), 
	CONSTRAINT fk_fds_tallies_count_id FOREIGN KEY(count_id) REFERENCES fds_counts (id)
);
INSERT INTO "fds_tallies" VALUES(1,0,100,'canary','{"requests": 7, "keys": 7, "latencies": [0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 2, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "scores": [0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "score_sum": [7, 2.8469999999999995], "slow": 1, "pair_error": [1, 0, 0, 0], "pair_alert": [1, 0, 0, 0], "matured_requests": 7, "matured": 7, "labelled": 3, "passed_genuine": 2, "missed_fraud": 1, "losses": [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "losses_summed": 1, "loss_sums": [0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "pair_missed_fraud": [0, 0, 0, 1], "known_missed_fraud@1.0": [0, 0, 0, 1], "pair_false_positive": [1, 0, 0, 0], "known_false_positive@1.0": [1, 0, 0, 0]}','2026-03-01 12:00:00.123456','2026-03-01 12:18:00.123456',492324,'');
INSERT INTO "fds_tallies" VALUES(1,0,100,'canary','{"requests": 1, "keys": 1, "latencies": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "scores": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "score_sum": [1, 0.794], "slow": 1, "matured_requests": 1, "matured": 1}','2026-03-01 13:21:00.123456','2026-03-01 13:21:00.123456',492325,'');
INSERT INTO "fds_tallies" VALUES(1,0,100,'champion','{"requests": 13, "keys": 13, "latencies": [0, 0, 0, 0, 0, 0, 3, 3, 1, 1, 1, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "scores": [0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0], "score_sum": [11, 4.672], "error": 2, "alert": 2, "slow": 2, "pair_error": [2, 0, 1, 0], "pair_alert": [3, 0, 0, 0], "matured_requests": 13, "matured": 13, "matured_alerts": 2, "known_alerts@0.25": [2, 1, 0, 0], "labelled": 5, "passed_genuine": 2, "reviewed_alerts": 1, "false_alerts": 1, "missed_fraud": 2, "losses": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "losses_summed": 2, "loss_sums": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 80.5, 0, 160.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "false_positive": 1, "pair_missed_fraud": [1, 0, 0, 2], "known_missed_fraud@1.0": [1, 0, 0, 2], "pair_false_positive": [3, 0, 0, 0], "known_false_positive@1.0": [3, 0, 0, 0]}','2026-03-01 12:01:00.123456','2026-03-01 12:19:00.123456',492324,'');
INSERT INTO "fds_tallies" VALUES(1,0,100,'champion','{"requests": 1, "keys": 1, "latencies": [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "scores": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "score_sum": [1, 0.453], "pair_error": [1, 0, 0, 0], "pair_alert": [1, 0, 0, 0], "matured_requests": 1, "matured": 1, "labelled": 1, "passed_genuine": 1, "pair_missed_fraud": [1, 0, 0, 0], "pair_false_positive": [1, 0, 0, 0]}','2026-03-01 13:20:00.123456','2026-03-01 13:20:00.123456',492325,'');
INSERT INTO "fds_tallies" VALUES(1,1,250,'canary','{"requests": 5, "keys": 5, "latencies": [0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "scores": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], "score_sum": [4, 3.091], "error": 1, "alert": 2, "slow": 2, "pair_error": [2, 0, 0, 0], "pair_alert": [2, 0, 0, 0], "matured_requests": 3, "matured": 3, "matured_alerts": 1, "known_alerts@0.25": [1, 0, 0, 0], "labelled": 1, "missed_fraud": 1, "losses": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "losses_summed": 1, "loss_sums": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 240.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "pair_missed_fraud": [0, 0, 0, 1], "known_missed_fraud@1.0": [0, 0, 0, 1], "pair_false_positive": [1, 0, 0, 0], "known_false_positive@1.0": [1, 0, 0, 0]}','2026-03-01 13:24:00.123456','2026-03-01 13:36:00.123456',492325,'');
INSERT INTO "fds_tallies" VALUES(1,1,250,'canary','{"requests": 2, "keys": 2, "latencies": [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "scores": [0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "score_sum": [2, 0.152]}','2026-03-01 14:39:00.123456','2026-03-01 14:42:00.123456',492326,'');
INSERT INTO "fds_tallies" VALUES(1,1,250,'champion','{"requests": 11, "keys": 9, "latencies": [0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 3, 0, 3, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "scores": [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], "score_sum": [9, 4.962000000000001], "alert": 2, "slow": 3, "spent_alert": 1, "pair_error": [2, 0, 0, 0], "pair_alert": [1, 1, 0, 0], "matured_requests": 6, "matured": 6, "matured_alerts": 1, "known_alerts@0.25": [1, 1, 0, 0], "labelled": 2, "passed_genuine": 2, "pair_missed_fraud": [1, 0, 0, 0], "known_missed_fraud@1.0": [1, 0, 0, 0], "pair_false_positive": [1, 0, 0, 0], "known_false_positive@1.0": [1, 0, 0, 0]}','2026-03-01 13:22:00.123456','2026-03-01 13:37:00.123456',492325,'');
INSERT INTO "fds_tallies" VALUES(1,1,250,'champion','{"requests": 4, "keys": 2, "latencies": [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "scores": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "score_sum": [2, 0.559], "error": 1, "slow": 2, "pair_error": [1, 0, 0, 0], "pair_alert": [1, 0, 0, 0]}','2026-03-01 14:38:00.123456','2026-03-01 14:43:00.123456',492326,'');
CREATE TABLE fds_vectors (
	id INTEGER NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	request_id VARCHAR(255) NOT NULL, 
	transaction_id VARCHAR(255) NOT NULL, 
	version INTEGER NOT NULL, 
	time DATETIME NOT NULL, 
	spec VARCHAR(80), 
	features TEXT NOT NULL, 
	raw TEXT, 
	CONSTRAINT pk_fds_vectors PRIMARY KEY (id), 
	CONSTRAINT uq_fds_vectors_model_request_id UNIQUE (model, request_id)
);
INSERT INTO "fds_vectors" VALUES(1,'fraud','R002','1002',1,'2026-03-01 12:02:00.123456','fedcba9876543210','{"amount":12.5,"gap":null}','{"amount":12.5,"country":"IT"}');
CREATE INDEX ix_fds_outcomes_recent ON fds_outcomes (model, time);
CREATE INDEX ix_fds_outcomes_key ON fds_outcomes (model, rollout_id, "key") WHERE rollout_id IS NOT NULL;
CREATE INDEX ix_fds_outcomes_transaction ON fds_outcomes (model, transaction_id) WHERE rollout_id IS NOT NULL AND transaction_id <> key;
CREATE INDEX ix_fds_outcomes_explored ON fds_outcomes (model, time) WHERE explored;
CREATE INDEX ix_fds_vectors_recent ON fds_vectors (model, time);
COMMIT;
